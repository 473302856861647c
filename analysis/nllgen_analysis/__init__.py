"""From a study.h5 to frames, statistics, figures, tables and one HTML report. No torch, no network, no display."""

from nllgen_analysis.frames import Frames, load_frames, to_frames
from nllgen_analysis.report import ReportPaths, write_report

__all__ = ["Frames", "ReportPaths", "load_frames", "to_frames", "write_report"]
