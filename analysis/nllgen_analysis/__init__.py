"""Analysis of a study.h5: frames, statistics, verdicts, figures, tables and a report; needs no torch and no network."""

from nllgen_analysis.frames import Frames, load, to_frames
from nllgen_analysis.report import ReportPaths, write_report

__all__ = ["Frames", "ReportPaths", "load", "to_frames", "write_report"]
