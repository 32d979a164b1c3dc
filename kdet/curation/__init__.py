"""Care of data sets: joining, dividing, counting and checking them. ``kdet dataset`` is its command."""

from kdet.curation.counting import statistics
from kdet.curation.defects import Report, check
from kdet.curation.merging import merge
from kdet.curation.reading import read_splits
from kdet.curation.splitting import divide

__all__ = ["Report", "check", "divide", "merge", "read_splits", "statistics"]
