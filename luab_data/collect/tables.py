"""The tables of a study's database."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

participants = sa.Table(
    "participants",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("person", sa.String, nullable=False, unique=True),  # keyed hash, or a random id
    sa.Column("entry", sa.String, nullable=False),
    sa.Column("arm", sa.String),
    sa.Column("consented_ms", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,  # the id of somebody who withdrew is nobody's again
)
tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task", sa.Text, nullable=False),  # JSON: of plan.Task
)
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("participant", sa.ForeignKey("participants.id", ondelete="CASCADE"), nullable=False),
    sa.Column("token", sa.String, nullable=False, unique=True),
    sa.Column("task", sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("begun_ms", sa.BigInteger, nullable=False),
    sa.Column("finished_ms", sa.BigInteger),
    sa.Column("code", sa.String),
    sa.Column("entry", sa.Text, nullable=False),  # JSON: of the platform, without who it was
    sqlite_autoincrement=True,
)
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("session", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("events", sa.Text, nullable=False),  # JSON: a list of events
)
answers = sa.Table(
    "answers",
    metadata,
    sa.Column("session", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("page", sa.Integer, primary_key=True),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),  # JSON
)
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("session", sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("decision", sa.String, nullable=False),  # accept, reject; a session's last one counts
    sa.Column("bonus_usd", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
logins = sa.Table(
    "logins",  # to the dashboard
    metadata,
    sa.Column("cookie", sa.String, primary_key=True),  # its hash
    sa.Column("until_s", sa.Float, nullable=False),  # epoch
)
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("act", sa.String, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
)
