"""Delete what was not chosen, note where the project comes from, then say what comes next.

Conditions inside files are for wiring; everything else is a whole file that is kept, or listed here
with what removes it. No network, no formatter, no clock: baking twice gives the same bytes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Answers = dict[str, str]

# Read by `tools/template.py`, and by cruft, whose format it is.
RECORD = ".cruft.json"
UNRECORDED = (
    "Where it comes from is not recorded, since it lies within its template, or the template has"
    " changes that no commit holds: when the project is committed in a place of its own,"
    " uv run tools/template.py link URL --commit COMMIT records it."
)


def no_database(answers: Answers) -> bool:
    return answers["database_driver"] == "none"


def no_sqlite(answers: Answers) -> bool:
    return answers["database_driver"] != "aiosqlite"


def no_server(answers: Answers) -> bool:
    return answers["database_driver"] in {"aiosqlite", "none"}


def no_postgresql(answers: Answers) -> bool:
    return answers["database_driver"] not in {"asyncpg", "psycopg"}


def no_asyncpg(answers: Answers) -> bool:
    return answers["database_driver"] != "asyncpg"


def no_psycopg(answers: Answers) -> bool:
    return answers["database_driver"] != "psycopg"


def no_mysql(answers: Answers) -> bool:
    return answers["database_driver"] != "asyncmy"


def no_cache(answers: Answers) -> bool:
    return answers["cache_backend"] == "none"


def no_redis_cache(answers: Answers) -> bool:
    return answers["cache_backend"] not in {"redis", "tiered"}


def no_memory_cache(answers: Answers) -> bool:
    return answers["cache_backend"] not in {"memory", "tiered"}


def no_tiered(answers: Answers) -> bool:
    return answers["cache_backend"] != "tiered"


def no_tasks(answers: Answers) -> bool:
    return answers["task_queue"] == "none"


def no_worker(answers: Answers) -> bool:
    return answers["task_queue"] in {"in-process", "none"}


def no_taskiq(answers: Answers) -> bool:
    return not answers["task_queue"].startswith("taskiq-")


def no_celery(answers: Answers) -> bool:
    return not answers["task_queue"].startswith("celery-")


def no_redis_queue(answers: Answers) -> bool:
    return not answers["task_queue"].endswith("-redis")


def no_rabbitmq(answers: Answers) -> bool:
    return not answers["task_queue"].endswith("-rabbitmq")


def no_taskiq_redis(answers: Answers) -> bool:
    return answers["task_queue"] != "taskiq-redis"


def no_taskiq_rabbitmq(answers: Answers) -> bool:
    return answers["task_queue"] != "taskiq-rabbitmq"


def no_celery_redis(answers: Answers) -> bool:
    return answers["task_queue"] != "celery-redis"


def no_celery_rabbitmq(answers: Answers) -> bool:
    return answers["task_queue"] != "celery-rabbitmq"


def no_redis(answers: Answers) -> bool:
    return no_redis_cache(answers) and no_redis_queue(answers)


def no_task_table(answers: Answers) -> bool:
    return no_tasks(answers) or no_database(answers)


def no_cached_tasks(answers: Answers) -> bool:
    return no_tasks(answers) or no_cache(answers)


def no_rooms(answers: Answers) -> bool:
    return all(
        is_missing(answers) for is_missing in (no_database, no_cache, no_tasks, no_monitoring)
    )


def no_servers(answers: Answers) -> bool:
    return no_server(answers) and no_redis_cache(answers) and no_worker(answers)


def no_monitoring(answers: Answers) -> bool:
    return answers["monitoring"] == "none"


def no_prometheus(answers: Answers) -> bool:
    return answers["monitoring"] != "prometheus"


def no_opentelemetry(answers: Answers) -> bool:
    return answers["monitoring"] != "opentelemetry"


def is_traced_or_without_memory_cache(answers: Answers) -> bool:
    return not no_opentelemetry(answers) or no_memory_cache(answers)


def no_traced_cache(answers: Answers) -> bool:
    return no_opentelemetry(answers) or no_cache(answers)


def no_traced_database(answers: Answers) -> bool:
    return no_opentelemetry(answers) or no_database(answers)


def no_traced_redis(answers: Answers) -> bool:
    return no_opentelemetry(answers) or no_redis_cache(answers)


def no_traced_tasks(answers: Answers) -> bool:
    return no_opentelemetry(answers) or no_tasks(answers)


def no_compose(answers: Answers) -> bool:
    return no_servers(answers) and no_monitoring(answers)


def no_prometheus_worker(answers: Answers) -> bool:
    return no_prometheus(answers) or no_worker(answers)


def no_sentry(answers: Answers) -> bool:
    return answers["error_tracking"] != "sentry"


def no_sentry_jobs(answers: Answers) -> bool:
    return no_sentry(answers) or no_tasks(answers)


def no_units(answers: Answers) -> bool:
    return no_database(answers) and no_example(answers)


def no_example(answers: Answers) -> bool:
    return answers["example"] == "none"


# What is deleted, and when. A path may lie in a folder that another row deletes.
REMOVED: dict[str, Callable[[Answers], bool]] = {
    "app/catalog": no_example,
    "app/catalog/cached.py": no_cache,
    "app/catalog/commands.py": no_database,
    "app/catalog/csv_chunks.py": no_tasks,
    "app/catalog/import_routes.py": no_tasks,
    "app/catalog/jobs.py": no_tasks,
    "app/catalog/migrations": no_database,
    "app/catalog/migrations/0002_price_lists_and_ratings.py": no_task_table,
    "app/catalog/models.py": no_database,
    "app/catalog/price_lists.py": no_tasks,
    "app/catalog/price_lists_cached.py": no_cached_tasks,
    "app/catalog/price_lists_memory.py": no_tasks,
    "app/catalog/price_lists_repository.py": no_task_table,
    "app/catalog/rating_routes.py": no_tasks,
    "app/catalog/ratings.py": no_tasks,
    "app/catalog/ratings_memory.py": no_tasks,
    "app/catalog/ratings_repository.py": no_task_table,
    "app/catalog/recent_routes.py": no_cache,
    "app/catalog/repository.py": no_database,
    "app/infra/cache": no_cache,
    "app/infra/cache/commands.py": no_redis_cache,
    "app/infra/cache/ready.py": no_memory_cache,
    "app/infra/cache/ready_protocol.py": is_traced_or_without_memory_cache,
    "app/infra/cache/redis.py": no_redis_cache,
    "app/infra/cache/samples.py": no_monitoring,
    "app/infra/cache/scripts.py": no_redis_cache,
    "app/infra/cache/tiered.py": no_tiered,
    "app/infra/database": no_database,
    "app/infra/database/asyncpg.py": no_asyncpg,
    "app/infra/database/freshness.py": no_server,
    "app/infra/database/mysql.py": no_mysql,
    "app/infra/database/postgresql.py": no_postgresql,
    "app/infra/database/psycopg.py": no_psycopg,
    "app/infra/database/replicas.py": no_server,
    "app/infra/database/samples.py": no_monitoring,
    "app/infra/database/server.py": no_server,
    "app/infra/database/sqlite.py": no_sqlite,
    "app/infra/http/accept.py": no_example,
    "app/infra/http/etags.py": no_example,
    "app/infra/http/pages.py": no_example,
    "app/infra/lifecycle.py": no_rooms,
    "app/infra/monitoring/metrics_route.py": no_prometheus,
    "app/infra/monitoring/opentelemetry.py": no_opentelemetry,
    "app/infra/monitoring/opentelemetry_database.py": no_traced_database,
    "app/infra/monitoring/opentelemetry_metrics.py": no_opentelemetry,
    "app/infra/monitoring/opentelemetry_redis.py": no_traced_redis,
    "app/infra/monitoring/otlp.py": no_opentelemetry,
    "app/infra/monitoring/prometheus.py": no_prometheus,
    "app/infra/monitoring/prometheus_files.py": no_prometheus,
    "app/infra/monitoring/prometheus_histograms.py": no_prometheus,
    "app/infra/monitoring/sampling.py": no_monitoring,
    "app/infra/monitoring/sentry.py": no_sentry,
    "app/infra/monitoring/settings.py": no_monitoring,
    "app/infra/redis.py": no_redis_cache,
    "app/infra/redis_url.py": no_redis,
    "app/infra/resilience": no_redis_cache,
    "app/infra/sessions": no_cache,
    "app/infra/sessions/redis.py": no_redis_cache,
    "app/infra/tasks": no_tasks,
    "app/infra/tasks/broker.py": no_worker,
    "app/infra/tasks/celery.py": no_celery,
    "app/infra/tasks/celery_pool.py": no_celery,
    "app/infra/tasks/celery_rabbitmq.py": no_celery_rabbitmq,
    "app/infra/tasks/celery_redis.py": no_celery_redis,
    "app/infra/tasks/commands.py": no_task_table,
    "app/infra/tasks/database.py": no_task_table,
    "app/infra/tasks/migrations": no_task_table,
    "app/infra/tasks/rabbitmq_url.py": no_rabbitmq,
    "app/infra/tasks/samples.py": no_monitoring,
    "app/infra/tasks/taskiq.py": no_taskiq,
    "app/infra/tasks/taskiq_rabbitmq.py": no_taskiq_rabbitmq,
    "app/infra/tasks/taskiq_redis.py": no_taskiq_redis,
    "app/infra/tasks/worker_command.py": no_worker,
    "app/infra/units.py": no_units,
    "app/worker.py": no_worker,
    "app/worker_pool.py": no_celery,
    "compose.yaml": no_compose,
    "monitoring": no_monitoring,
    "monitoring/alerts": no_prometheus,
    "monitoring/alerts/cache.yml": no_cache,
    "monitoring/alerts/database.yml": no_database,
    "monitoring/alerts/resilience.yml": no_redis_cache,
    "monitoring/alerts/tasks.yml": no_tasks,
    "monitoring/alerts/tests/cache.yml": no_cache,
    "monitoring/alerts/tests/database.yml": no_database,
    "monitoring/alerts/tests/resilience.yml": no_redis_cache,
    "monitoring/alerts/tests/tasks.yml": no_tasks,
    "monitoring/alerts/tests/worker.yml": no_worker,
    "monitoring/alerts/worker.yml": no_worker,
    "monitoring/collector.yaml": no_opentelemetry,
    "monitoring/grafana": no_prometheus,
    "monitoring/grafana/dashboards/cache.json": no_cache,
    "monitoring/grafana/dashboards/database.json": no_database,
    "monitoring/grafana/dashboards/resilience.json": no_redis_cache,
    "monitoring/grafana/dashboards/tasks.json": no_tasks,
    "monitoring/prometheus.yml": no_prometheus,
    "tests/cache_process.py": no_redis_cache,
    "tests/caches.py": no_cache,
    "tests/catalog": no_example,
    "tests/catalog/price_lists.py": no_tasks,
    "tests/catalog/test_batching.py": no_database,
    "tests/catalog/test_cached.py": no_cache,
    "tests/catalog/test_csv_chunks.py": no_tasks,
    "tests/catalog/test_import.py": no_tasks,
    "tests/catalog/test_import_cached.py": no_cached_tasks,
    "tests/catalog/test_import_job.py": no_tasks,
    "tests/catalog/test_import_killed.py": no_worker,
    "tests/catalog/test_ratings.py": no_tasks,
    "tests/catalog/test_ratings_statements.py": no_task_table,
    "tests/catalog/test_recent.py": no_cache,
    "tests/catalog/test_rows.py": no_database,
    "tests/catalog/test_seed.py": no_database,
    "tests/catalog/test_statements.py": no_database,
    "tests/databases.py": no_database,
    "tests/infra/cache": no_cache,
    "tests/infra/cache/test_commands.py": no_redis_cache,
    "tests/infra/cache/test_faults.py": no_redis_cache,
    "tests/infra/cache/test_processes.py": no_redis_cache,
    "tests/infra/cache/test_ready.py": no_memory_cache,
    "tests/infra/cache/test_ready_protocol.py": is_traced_or_without_memory_cache,
    "tests/infra/cache/test_redis.py": no_redis_cache,
    "tests/infra/cache/test_samples.py": no_monitoring,
    "tests/infra/cache/test_shared.py": no_redis_cache,
    "tests/infra/cache/test_tiered.py": no_tiered,
    "tests/infra/database": no_database,
    "tests/infra/database/test_faults.py": no_server,
    "tests/infra/database/test_freshness.py": no_server,
    "tests/infra/database/test_mysql.py": no_mysql,
    "tests/infra/database/test_pgbouncer.py": no_postgresql,
    "tests/infra/database/test_postgresql.py": no_postgresql,
    "tests/infra/database/test_replicas.py": no_server,
    "tests/infra/database/test_samples.py": no_monitoring,
    "tests/infra/database/test_server.py": no_server,
    "tests/infra/database/test_sqlite.py": no_sqlite,
    "tests/infra/database/test_tls.py": no_server,
    "tests/infra/http/test_accept.py": no_example,
    "tests/infra/http/test_etags.py": no_example,
    "tests/infra/http/test_pages.py": no_example,
    "tests/infra/monitoring/opentelemetry_backend.py": no_opentelemetry,
    "tests/infra/monitoring/prometheus_backend.py": no_prometheus,
    "tests/infra/monitoring/scraping.py": no_prometheus,
    "tests/infra/monitoring/sending.py": no_opentelemetry,
    "tests/infra/monitoring/test_alerts.py": no_prometheus,
    "tests/infra/monitoring/test_dashboards.py": no_prometheus,
    "tests/infra/monitoring/test_metrics_route.py": no_prometheus,
    "tests/infra/monitoring/test_opentelemetry.py": no_opentelemetry,
    "tests/infra/monitoring/test_opentelemetry_cache.py": no_traced_cache,
    "tests/infra/monitoring/test_opentelemetry_database.py": no_traced_database,
    "tests/infra/monitoring/test_opentelemetry_redis.py": no_traced_redis,
    "tests/infra/monitoring/test_opentelemetry_tasks.py": no_traced_tasks,
    "tests/infra/monitoring/test_prometheus.py": no_prometheus,
    "tests/infra/monitoring/test_sampling.py": no_monitoring,
    "tests/infra/monitoring/test_sentry.py": no_sentry,
    "tests/infra/monitoring/test_sentry_jobs.py": no_sentry_jobs,
    "tests/infra/monitoring/test_serving.py": no_prometheus,
    "tests/infra/monitoring/test_worker.py": no_prometheus_worker,
    "tests/infra/resilience": no_redis_cache,
    "tests/infra/sessions": no_cache,
    "tests/infra/sessions/test_redis.py": no_redis_cache,
    "tests/infra/tasks": no_tasks,
    "tests/infra/tasks/test_celery.py": no_celery,
    "tests/infra/tasks/test_celery_rabbitmq.py": no_celery_rabbitmq,
    "tests/infra/tasks/test_celery_redis.py": no_celery_redis,
    "tests/infra/tasks/test_commands.py": no_task_table,
    "tests/infra/tasks/test_outbox.py": no_task_table,
    "tests/infra/tasks/test_samples.py": no_monitoring,
    "tests/infra/tasks/test_taskiq.py": no_taskiq,
    "tests/infra/tasks/test_taskiq_rabbitmq.py": no_taskiq_rabbitmq,
    "tests/infra/tasks/test_workers.py": no_worker,
    "tests/infra/test_lifecycle.py": no_rooms,
    "tests/infra/test_units.py": no_units,
    "tests/loads.py": no_database,
    "tests/mysql.py": no_mysql,
    "tests/otlp_receiver.py": no_opentelemetry,
    "tests/pool_jobs.py": no_celery,
    "tests/promql.py": no_prometheus,
    "tests/proxies.py": no_celery,
    "tests/postgresql.py": no_postgresql,
    "tests/rabbitmq_servers.py": no_rabbitmq,
    "tests/redis_broker.py": no_redis_queue,
    "tests/redis_servers.py": no_redis,
    "tests/replicated.py": no_server,
    "tests/sentry_endpoint.py": no_sentry,
    "tests/servers.py": no_server,
    "tests/services.py": no_servers,
    "tests/sqlite.py": no_sqlite,
    "tests/task_jobs.py": no_tasks,
    "tests/task_pool.py": no_celery,
    "tests/task_rooms.py": no_tasks,
    "tests/task_table.py": no_task_table,
    "tests/task_worker.py": no_worker,
}

# Left behind by tools that somebody ran inside the template, and no part of it.
CACHES = {"__pycache__", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


def prune(project: Path, answers: Answers) -> None:
    """Delete from `project` what `answers` did not choose.

    A row that names no file is an error, found before anything is deleted: a renamed file would
    otherwise stay in every project, unnoticed.
    """
    renamed = [path for path in REMOVED if not (project / path).exists()]
    if renamed:
        names = ", ".join(renamed)
        sys.exit(f"hooks/post_gen_project.py lists {names}, which does not exist: mend its table.")

    unwanted = [project / path for path, is_unwanted in REMOVED.items() if is_unwanted(answers)]
    for folder, inner, _ in os.walk(project):
        unwanted += [Path(folder, name) for name in inner if name in CACHES]
    for path in unwanted:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            # Gone already when its folder is unwanted too.
            path.unlink(missing_ok=True)


def record(project: Path, answers: Answers) -> None:
    """Note in `project` where it comes from, if somebody can come back there.

    Nobody can when the template had changes that no commit holds, or when the project lies within
    it. Where cruft drives, it writes its own record.
    """
    if "_commit" in answers:
        return
    folder = Path(os.environ.get("PWD", ""), answers["_repo_dir"])
    # The last of these is there if the folder is of the repository, not just inside of one.
    known = git(
        folder, "rev-parse", "--show-toplevel", "--show-prefix", "HEAD", "HEAD:./cookiecutter.json"
    )
    origin = of_clone(project, folder, known) if known else of_archive(answers)
    if origin is None:
        print(UNRECORDED, file=sys.stderr)
        return
    template, commit, directory = origin
    context = {name: value for name, value in answers.items() if not name.startswith("_")}
    found = {
        "template": template,
        "commit": commit,
        "checkout": answers.get("_checkout") or None,
        "context": {"cookiecutter": {**context, "_template": template}},
        "directory": directory or None,
    }
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (project / RECORD).write_text(text, encoding="utf-8", newline="\n")


def of_clone(project: Path, folder: Path, known: str) -> tuple[str, str, str] | None:
    """Address, commit and directory of a template in a clone."""
    top, prefix, commit, _ = known.split("\n")
    if project.is_relative_to(top) or git(folder, "status", "--porcelain"):
        return None
    # A commit that was not pushed is in this clone alone.
    pushed = git(folder, "branch", "--remotes", "--contains", commit)
    remote = git(folder, "remote", "get-url", "origin") if pushed else ""
    # The record is committed, and must hold no password.
    address = re.sub(r"(?<=://)[^/@]*@", "", remote) if "://" in remote else remote
    return address or str(Path(top)), commit, prefix.strip("/")


def of_archive(answers: Answers) -> tuple[str, str, str] | None:
    """Address of a template that came without its history, and the tag of its release."""
    template, version = answers["_template"], answers["_version"]
    if not template.lower().endswith(".zip"):
        return None
    # As the usual hosts name the archives of a repository.
    repository = re.sub(r"(/-)?/(archive|zipball)/.*", "", template)
    return repository, f"v{version}", ""


def git(folder: Path, *arguments: str) -> str:
    """What git says in `folder`; nothing where there is no git, or no repository."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        asked = subprocess.run(  # noqa: S603  # nothing that was answered
            ["git", "-C", folder, *arguments],  # noqa: S607  # wherever it is
            capture_output=True,
            check=False,
            encoding="utf-8",
            env=clean,
        )
    except OSError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def main() -> None:
    answers = dict(json.loads(r"""{{ cookiecutter.items() | list | tojson }}"""))
    prune(Path.cwd(), answers)
    record(Path.cwd(), answers)
    print(f"cd {answers['project_slug']}")
    if not no_servers(answers):
        print("docker compose up --wait")
    print("uv run python -m app serve")


if __name__ == "__main__":
    main()
