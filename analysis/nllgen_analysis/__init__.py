"""Analysis of a study: frames, statistics, verdicts, figures, tables and a report; needs no torch and no network."""

from nllgen_analysis.columns import COLUMNS
from nllgen_analysis.frames import Frames, join_cells, load, to_frames
from nllgen_analysis.report import ReportPaths, write_report

__all__ = ["COLUMNS", "Frames", "ReportPaths", "join_cells", "load", "to_frames", "write_report"]
