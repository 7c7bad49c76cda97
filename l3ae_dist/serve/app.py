"""The HTTP service as an ASGI application: routes, refusals, pages."""

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from l3ae_dist import __version__
from l3ae_dist.errors import ConfigError, DataError, L3AEError, UnknownIdError
from l3ae_dist.messages import paragraph, shown
from l3ae_dist.serve.answers import Answers, Lists
from l3ae_dist.serve.current import Current
from l3ae_dist.serve.limits import BoundedBody
from l3ae_dist.serve.measures import Measured, Measures
from l3ae_dist.serve.schema import (
    ItemsAnswer,
    ItemsRequest,
    ModelAnswer,
    RecommendAnswer,
    RecommendRequest,
    Refusal,
    SimilarRequest,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger("l3ae_dist.serve")

PATHS = frozenset(("/recommend", "/similar", "/items", "/model", "/healthz", "/readyz", "/metrics"))
"""Paths of the service, its pages apart."""
# Items of the histories, and of the lists, of a request to an export that is answered without a thread.
_QUICK_ITEMS, _QUICK_ENTRIES = 400, 400
# Calls to a workspace at a time: each may hold the memory budget.
_CALLS = 4
_REFUSALS: dict[int | str, dict[str, object]] = {
    403: {"model": Refusal, "description": "Something that this service does not do."},
    404: {"model": Refusal, "description": "An id that is not known."},
    413: {"model": Refusal, "description": "A body that is too long."},
    422: {"model": Refusal, "description": "A request that cannot be answered as it is."},
    503: {"model": Refusal, "description": "No model that can answer now."},
}


def make_app(current: Current, *, new_items: bool = False, hosts: Sequence[str] = ("*",)) -> "ASGIApp":
    """Make the application that answers from a model.

    Parameters
    ----------
    current
        The model; it is opened by the application when it is not open, and watched for its successor.
    new_items
        Whether requests may add items to the workspace.
    hosts
        Names by which the service may be called: on the loopback a page of another site may otherwise call it
        through a browser, by a name of its own that leads here.
    """
    api, measures = _api(current), current.measures
    _add_answers(api, current)
    _add_items(api, current, new_items)
    _add_pages(api, current, measures)
    _add_refusals(api)
    trusted = TrustedHostMiddleware(BoundedBody(api), allowed_hosts=list(hosts), www_redirect=False)
    return Measured(trusted, measures, PATHS)


def _api(current: Current) -> FastAPI:
    @contextlib.asynccontextmanager
    async def watched(api: FastAPI) -> AsyncIterator[None]:
        if current.answers is None:
            await run_in_threadpool(current.open)
        current.watch()
        try:
            yield
        finally:
            await run_in_threadpool(current.close)

    from fastapi_offline import FastAPIOffline  # the page of the API with its scripts: none from elsewhere

    return FastAPIOffline(
        title="l3ae_dist",
        summary="Recommendations of an exact linear model.",
        version=__version__,
        lifespan=watched,
        redoc_url=None,
    )


def _add_answers(api: FastAPI, current: Current) -> None:
    calls = CapacityLimiter(_CALLS)

    async def answer(call: Callable[[Answers], Lists], *, quick: bool) -> Response:
        """Answer with lists, in a thread where that takes long beside what other requests wait for."""
        model = _ready(current)

        def made() -> Response:
            return _json({"model": model.name, "results": call(model)})

        return made() if quick and model.quick else await to_thread.run_sync(made, limiter=calls)

    @api.post("/recommend", response_model=RecommendAnswer, responses=_REFUSALS)
    async def recommend(asked: RecommendRequest) -> Response:
        """Recommend items to known users, or to anybody by the items of a history."""
        histories = asked.histories or []
        small = sum(map(len, histories)) <= _QUICK_ITEMS and len(histories) * asked.n <= _QUICK_ENTRIES
        return await answer(lambda model: model.recommend(asked), quick=small and not asked.reasons)

    @api.post("/similar", response_model=RecommendAnswer, responses=_REFUSALS)
    async def similar(asked: SimilarRequest) -> Response:
        """List the items that owning an item speaks most for."""
        small = len(asked.items) * asked.n <= _QUICK_ENTRIES
        return await answer(lambda model: model.similar(asked), quick=small)


def _add_items(api: FastAPI, current: Current, allowed: bool) -> None:
    @api.post("/items", response_model=ItemsAnswer, responses=_REFUSALS)
    async def items(asked: ItemsRequest) -> Response:
        """Make items recommendable that the catalog does not have, from their text alone."""
        if not allowed:
            return _refused(
                403, "NotAllowed", "this service adds no items; start it with --new-items to do so."
            )
        model = _ready(current)
        added = await run_in_threadpool(model.add, asked)
        return _json({"model": model.name, "added": added})


def _add_pages(api: FastAPI, current: Current, measures: Measures) -> None:
    @api.get("/model", response_model=ModelAnswer, responses={503: _REFUSALS[503]})
    async def model() -> Response:
        """Tell which model answers now, and how exact it is."""
        return _json(_ready(current).about())

    @api.get("/healthz")
    async def healthz() -> Response:
        """Tell that the process is alive."""
        return _json({"alive": True})

    @api.get("/readyz", responses={503: _REFUSALS[503]})
    async def readyz() -> Response:
        """Tell that a model is there to answer."""
        return _json({"ready": True, "model": _ready(current).name})

    @api.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return the counters in the text format of Prometheus."""
        if current.answers is not None:
            measures.items(current.answers.about()["items"])
        return Response(measures.page(), media_type="text/plain; version=0.0.4")


class _NotReadyError(Exception):
    """There is no model that answers."""


def _ready(current: Current) -> Answers:
    if current.answers is None:
        raise _NotReadyError
    return current.answers


def _add_refusals(api: FastAPI) -> None:
    @api.exception_handler(L3AEError)
    async def known(request: Request, error: L3AEError) -> Response:
        status = 404 if isinstance(error, UnknownIdError) else 422
        if not isinstance(error, UnknownIdError | ConfigError | DataError):
            logger.error("%s: %s", request.url.path, error)
            status = 503
        return _refused(status, type(error).__name__, str(error))

    @api.exception_handler(_NotReadyError)
    async def not_ready(request: Request, error: _NotReadyError) -> Response:
        return _refused(503, "NotReady", "no model is open yet; ask again in a moment.")

    @api.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        kind = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "RequestRefused")
        return _refused(error.status_code, kind, f"{error.detail}; see /docs for what can be asked.")

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _refused(422, "InvalidRequest", _complaint(error))

    @api.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        logger.exception("%s failed", request.url.path)
        return _refused(500, "InternalError", "the request failed, and the log of the service says why.")


def _complaint(error: RequestValidationError) -> str:
    """Say the first thing that is wrong with a request, and where."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    what = str(first["msg"]).removeprefix("Value error, ")
    return paragraph(f"{shown(place) + ': ' if place else ''}{what}; see /docs for what can be asked.")


def _refused(status: int, kind: str, message: str) -> Response:
    return _json({"error": kind, "message": message}, status)


def _json(value: Mapping[str, object], status: int = 200) -> Response:
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body.encode(errors="replace"), status, media_type="application/json")
