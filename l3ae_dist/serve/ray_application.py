"""The HTTP service as an application of Ray Serve, with as many copies as the load asks for.

``serve run l3ae_dist.serve.ray_application:application target=/exports/current`` on a Ray cluster.
"""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from l3ae_dist.serve.app import make_app
from l3ae_dist.serve.current import Current

if TYPE_CHECKING:
    from ray.serve import Application
    from starlette.types import ASGIApp


class Arguments(BaseModel):
    """Arguments of the application."""

    model_config = ConfigDict(extra="forbid")

    target: str
    """Folder of an export, a link to one, or a workspace, as every node sees it."""
    model: str | None = None
    """Name of a model of the workspace; the current one when null."""
    memory_budget: str = "2GiB"
    """Bytes that a call to a model of a workspace may hold."""
    new_items: bool = False
    """Let requests add items to the workspace."""
    fewest: int = Field(1, ge=0)
    """Copies that are always there."""
    most: int = Field(4, ge=1)
    """Copies at most."""
    requests_each: int = Field(8, ge=1)
    """Requests under way in a copy from which on another one is started."""
    cpus: float = Field(1.0, gt=0)
    """Cores of each copy."""


def application(arguments: Arguments) -> "Application":
    """Build the application, as ``serve run`` and the files of Ray Serve call it.

    Parameters
    ----------
    arguments
        What it serves, and with how many copies.
    """
    from ray import serve

    def build() -> "ASGIApp":
        current = Current(arguments.target, arguments.model, memory_budget=arguments.memory_budget)
        return make_app(current, new_items=arguments.new_items)

    deployment = serve.deployment(
        serve.ingress(build)(),
        name="l3ae-dist",
        ray_actor_options={"num_cpus": arguments.cpus},
        max_ongoing_requests=4 * arguments.requests_each,
        autoscaling_config={
            "min_replicas": arguments.fewest,
            "initial_replicas": max(1, arguments.fewest),
            "max_replicas": arguments.most,
            "target_ongoing_requests": arguments.requests_each,
        },
        health_check_period_s=5,
    )
    return deployment.bind()
