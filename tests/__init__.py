"""The tests mirror the tree."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
