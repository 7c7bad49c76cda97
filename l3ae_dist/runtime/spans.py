"""Spans of OpenTelemetry: one for a run and one for each of its stages, where the process has a provider."""

from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING

from l3ae_dist.runtime.events import Event, OnEvent, RunEnd, RunStart, StageEnd, StageStart

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_SCOPE, _NANOSECONDS = "l3ae_dist", 1_000_000_000


def with_spans(on_event: OnEvent | None) -> OnEvent | None:
    """Return what takes the events of a run so that spans are made of them, too.

    Parameters
    ----------
    on_event
        The caller's; None for none.

    Returns
    -------
    ``on_event`` itself in a process without a provider of spans, as ``opentelemetry-instrument`` or an
    application sets one.
    """
    tracer = _tracer()
    return on_event if tracer is None else _Spans(tracer, on_event)


def _tracer() -> "Tracer | None":
    """Return the tracer of the process; None where spans go nowhere."""
    with suppress(ImportError):
        from opentelemetry import trace

        provider = trace.get_tracer_provider()
        if not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
            return provider.get_tracer(_SCOPE)
    return None


class _Spans:
    """Makes spans of events, and passes the events on."""

    def __init__(self, tracer: "Tracer", on_event: OnEvent | None) -> None:
        self._tracer, self._on_event = tracer, on_event
        self._run: Span | None = None
        self._stages: dict[str, Span] = {}

    def __call__(self, event: Event) -> None:
        """Begin or end a span where a run or a stage does."""
        when = int(event.time * _NANOSECONDS)
        if isinstance(event, RunStart):
            attributes = {"l3ae.run": event.run, "l3ae.workspace": event.workspace}
            self._run = self._tracer.start_span("l3ae_dist run", attributes=attributes, start_time=when)
        elif isinstance(event, StageStart):
            self._begin(event, when)
        elif isinstance(event, StageEnd):
            span = self._stages.pop(event.stage, None)
            if span is not None:
                span.set_attributes(_figures(event))
                span.end(end_time=when)
        elif isinstance(event, RunEnd):
            self._end(event, when)
        if self._on_event is not None:
            self._on_event(event)

    def _begin(self, event: StageStart, when: int) -> None:
        from opentelemetry import trace

        earlier = self._stages.pop(event.stage, None)
        if earlier is not None:  # begun again, such as after damage
            earlier.end(end_time=when)
        context = None if self._run is None else trace.set_span_in_context(self._run)
        self._stages[event.stage] = self._tracer.start_span(
            f"l3ae_dist {event.stage}",
            context,
            attributes={"l3ae.stage": event.stage, "l3ae.total": event.total, "l3ae.done": event.done},
            start_time=when,
        )

    def _end(self, event: RunEnd, when: int) -> None:
        """End the run, and the stages that it did not end."""
        from opentelemetry.trace import Status, StatusCode

        spans = [*self._stages.values(), *([] if self._run is None else [self._run])]
        self._stages, self._run = {}, None
        for span in spans:
            if event.outcome != "finished":
                span.set_status(Status(StatusCode.ERROR, event.outcome))
            span.end(end_time=when)


def _figures(event: StageEnd) -> dict[str, int | float]:
    """Return the totals of a stage as attributes of its span."""
    values = {one.name: getattr(event, one.name) for one in fields(event) if one.name != "time"}
    return {
        f"l3ae.{name}": value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
