"""Machine types of cloud providers, and the smallest one for a node."""

from l3ae_dist.deploy.cluster_shape import Nodes
from l3ae_dist.errors import ConfigError
from l3ae_dist.units import GIB

# Firmware and kernel keep a part of a machine's memory.
_USABLE = 0.96
# Name, cores, GiB and GPUs of machine types, the smaller first.
_AWS = [
    ("m7i.xlarge", 4, 16, 0),
    ("r7i.xlarge", 4, 32, 0),
    ("m7i.2xlarge", 8, 32, 0),
    ("r7i.2xlarge", 8, 64, 0),
    ("m7i.4xlarge", 16, 64, 0),
    ("r7i.4xlarge", 16, 128, 0),
    ("m7i.8xlarge", 32, 128, 0),
    ("r7i.8xlarge", 32, 256, 0),
    ("m7i.16xlarge", 64, 256, 0),
    ("r7i.16xlarge", 64, 512, 0),
    ("r7i.24xlarge", 96, 768, 0),
    ("g6.2xlarge", 8, 32, 1),
    ("g6.4xlarge", 16, 64, 1),
    ("g6.8xlarge", 32, 128, 1),
    ("g6.16xlarge", 64, 256, 1),
    ("g6.12xlarge", 48, 192, 4),
    ("g6.48xlarge", 192, 768, 8),
]
_GCP = [
    ("n2-standard-4", 4, 16, 0),
    ("n2-highmem-4", 4, 32, 0),
    ("n2-standard-8", 8, 32, 0),
    ("n2-highmem-8", 8, 64, 0),
    ("n2-standard-16", 16, 64, 0),
    ("n2-highmem-16", 16, 128, 0),
    ("n2-standard-32", 32, 128, 0),
    ("n2-highmem-32", 32, 256, 0),
    ("n2-highmem-64", 64, 512, 0),
    ("n2-highmem-80", 80, 640, 0),
    ("g2-standard-8", 8, 32, 1),
    ("g2-standard-12", 12, 48, 1),
    ("g2-standard-16", 16, 64, 1),
    ("g2-standard-32", 32, 128, 1),
    ("g2-standard-24", 24, 96, 2),
    ("g2-standard-48", 48, 192, 4),
    ("g2-standard-96", 96, 384, 8),
]


def machine_type(provider: str, nodes: Nodes) -> str:
    """Return the name of the smallest machine type that holds such a node.

    Raises
    ------
    ConfigError
        When there is none.
    """
    types = {"aws": _AWS, "gcp": _GCP}[provider]
    gib = nodes.memory_bytes // GIB
    fitting = [
        name
        for name, cores, memory, gpus in types
        if cores >= nodes.cores and _USABLE * memory >= gib
        if (gpus >= nodes.gpus if nodes.gpus else gpus == 0)
    ]
    if not fitting:
        raise ConfigError(
            f"no machine type of {provider} known here has {nodes.cores} cores, {gib} GiB and {nodes.gpus} "
            "GPUs; use more nodes with fewer workers each (--nodes), or a smaller memory budget."
        )
    return fitting[0]
