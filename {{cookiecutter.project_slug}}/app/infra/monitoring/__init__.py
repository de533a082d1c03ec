"""Figures, traces and errors: what the service tells of itself, whoever listens.

A room or a slice declares its instruments at the top of a module, as it does its logger, and
records with them. Who listens is decided once, by what `bootstrap` hands to `listening`; until
then, and where nothing was chosen, recording does nothing.
"""

from app.infra.monitoring.instruments import BYTES, Counter, Gauge, Histogram, Instrument, Record
from app.infra.monitoring.recorder import (
    Recorder,
    carried,
    continued,
    failed,
    listening,
    part,
    refused,
)

__all__ = [
    "BYTES",
    "Counter",
    "Gauge",
    "Histogram",
    "Instrument",
    "Record",
    "Recorder",
    "carried",
    "continued",
    "failed",
    "listening",
    "part",
    "refused",
]
