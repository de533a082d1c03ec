# /// script
# requires-python = ">=3.11"
# dependencies = ["cookiecutter>=2.7.1,<3"]
# ///
"""Take a newer version of the template, or other answers to its questions, into this project.

An update is a three-way merge, which git does: what the template made of the recorded answers is
the base, what its new version makes is theirs, and this project is ours. Conflicts are git's own.
The new version's copy of this program does the work, so that its faults are mended by updates too.
"""

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
from merging import (
    COMMAND,
    OWNED,
    README,
    RECORD,
    Answers,
    Project,
    Refusal,
    Repository,
    Version,
    cloned,
    laid_out,
    numbers,
)

_PROGRAM = ("template.py", "merging.py")


def _nearest(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(words)}."


def _choice(version: Version, prompt: str, answer: str) -> str:
    """An answer that can be given.

    Raises:
        Refusal: it cannot.
    """
    known = version.prompts
    if prompt not in known:
        raise Refusal(f"There is no prompt {prompt}: {_nearest(prompt, list(known))}")
    values = known[prompt]
    if isinstance(values, list) and answer not in values:
        raise Refusal(f"{prompt} cannot be {answer}: {_nearest(answer, values)}")
    return answer


def _parsed(settings: Sequence[str]) -> Answers:
    if wrong := [setting for setting in settings if "=" not in setting]:
        raise Refusal(f"{wrong[0]} is no answer: write --set prompt=value.")
    return {name: value for name, _, value in (each.partition("=") for each in settings)}


def _migrated(answers: Answers, old: Version, new: Version, given: Answers) -> Answers:
    """Recorded answers as the new version has them, with those that are given now."""
    answers = dict(answers)
    for row in new.migrations(old.number):
        for before, now in row.get("prompts", {}).items():
            if before in answers:
                answer = answers.pop(before)
                if now is not None:
                    answers[now] = answer
                click.echo(f"{before} is called {now} now." if now else f"{before} is gone.")
        for prompt, values in row.get("values", {}).items():
            before = answers.get(prompt, "")
            if before not in values or prompt in given:
                continue
            if values[before] is None:
                raise Refusal(
                    f"{prompt} can be {before} no more: choose with --set {prompt}=…, one of"
                    f" {', '.join(new.prompts[prompt])}."
                )
            answers[prompt] = values[before]
            click.echo(f"{prompt}: {before} is {values[before]} now.")
    for prompt in set(answers) - set(new.prompts):
        click.echo(f"{prompt} is asked no more; it was {answers.pop(prompt)}.")
    answers |= given
    return {prompt: _choice(new, prompt, answer) for prompt, answer in answers.items()}


def _asked(version: Version, prompt: str) -> str:
    values = version.prompts[prompt]
    if isinstance(values, list):
        return str(click.prompt(prompt, type=click.Choice(values), default=values[0]))
    return str(click.prompt(prompt, default=values))


def _target(clone: Repository, now: str, wanted: str | None) -> str:
    """The commit to go to: as wanted, or the latest release, unless that is older."""
    if wanted is not None:
        return clone.commit_of(wanted)
    if not (releases := clone.releases()):
        return now
    latest = clone.commit_of(releases[-1])
    return now if _is_older(clone, latest, now) else latest


def _is_older(clone: Repository, commit: str, now: str) -> bool:
    """Whether `now` has all that `commit` has."""
    return clone.run("merge-base", "--is-ancestor", commit, now).returncode == 0


def _text(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _merged_by(
    project: Project, old: Version, new: Version, answers: Answers
) -> tuple[str, str, Answers]:
    """The base of a merge, what the new version makes, and all of its answers."""
    before, _ = old.bake(project.answers)
    after, answers = new.bake(answers)
    record = project.record
    context = {**answers, "_template": record["template"]}
    moved: dict[str, Any] = {"commit": new.commit, "context": {"cookiecutter": context}}
    if new.commit != old.commit:
        moved["checkout"] = None
    (before / RECORD).write_bytes((project.folder / RECORD).read_bytes())
    (after / RECORD).write_text(_text({**record, **moved}), "utf-8", newline="\n")
    _forget_version(project, before / README, old.number, new.number)
    base = project.commit(before)
    return base, project.commit(after, base), answers


def _forget_version(project: Project, readme: Path, old: str, new: str) -> None:
    """Where the project's own README names no version, that line of the template's is no change."""
    ours = project.folder / README
    said = f"version {old}"
    if readme.exists() and not (ours.exists() and said in ours.read_text("utf-8")):
        text = readme.read_text("utf-8").replace(said, f"version {new}")
        readme.write_text(text, "utf-8", newline="\n")


def _hand_over(target: Version, project: Project, clone: Repository, *arguments: str) -> None:
    """Let the target's copy of this program do the work, where it differs; then end."""
    here = Path(__file__).parent
    for there in target.folder.glob("*/tools"):
        if any(_bytes(there / name) != _bytes(here / name) for name in _PROGRAM):
            uv = os.environ.get("UV")
            # With the libraries that it asks for, which need not be those of this one.
            program = [uv, "run", "--script"] if uv else [sys.executable]
            where = ["--project", str(project.folder), "--clone", str(clone.folder)]
            ended = subprocess.run(
                [*program, there / "template.py", *where, *arguments], check=False
            )
            sys.exit(ended.returncode)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@click.group()
@click.option("--project", "folder", type=Path, default=Path(__file__).parents[1], hidden=True)
@click.option("--clone", type=Path, hidden=True)
@click.pass_context
def commands(context: click.Context, folder: Path, clone: Path | None) -> None:
    """Take a newer version of the template, or other answers, into this project."""
    context.obj = folder, clone


@contextmanager
def _opened(context: click.Context) -> Iterator[tuple[Project, Repository, Version]]:
    """This project, its template, and the version that it has now."""
    folder, clone = context.obj
    project = Project(folder)
    record = project.record
    with nullcontext(Repository(clone)) if clone else cloned(record["template"]) as repository:
        commit = repository.commit_of(record["commit"])
        yield project, repository, laid_out(repository, commit, record["directory"])


@commands.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Tell how far this project is behind, what has changed, and where that would conflict."""
    with _opened(context) as (project, clone, old):
        click.echo(f"This project has version {old.number} ({old.commit[:10]}) of the template.")
        new = laid_out(clone, _target(clone, old.commit, None), project.record["directory"])
        if new.commit == old.commit:
            click.echo("There is no newer release; `update --to main` takes what is newer.")
            return
        behind = [tag for tag in clone.releases() if numbers(tag) > numbers(old.number)]
        click.echo(f"Newer releases: {', '.join(behind)}\n\n{new.changes(old.number)}")
        answers = _migrated(project.answers, old, new, {})
        base, theirs, _ = _merged_by(project, old, new, answers)
        _tell("Conflicts to expect in", project.conflicts(base, theirs))
        click.echo(f"{COMMAND} update takes it.")


def _tell(title: str, names: Sequence[str]) -> None:
    if names:
        click.echo("\n".join([f"{title}:", *(f"  {name}" for name in names)]))


def _tell_of_revisions(lost: Sequence[str]) -> None:
    """A database that has a revision which the code lacks is one that the service refuses."""
    for revision in lost:
        click.echo(
            f"Revision {revision} goes: with the code of before, run `python -m app migrate --undo"
            f" {revision}` where a database has it and is to be kept."
        )


@commands.command()
@click.option("--to", "wanted", metavar="TAG", help="A tag, branch or commit of the template.")
@click.option("--set", "settings", multiple=True, metavar="PROMPT=VALUE", help="Another answer.")
@click.option("--ask-new", is_flag=True, help="Ask what was not asked before.")
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@click.pass_context
def update(
    context: click.Context,
    wanted: str | None,
    settings: tuple[str, ...],
    ask_new: bool,
    dry_run: bool,
) -> None:
    """Merge the latest release of the template, or other answers; 1 when there are conflicts."""
    given = _parsed(settings)
    with _opened(context) as (project, clone, old):
        if not dry_run:
            project.refuse_changes()
        new = laid_out(clone, _target(clone, old.commit, wanted), project.record["directory"])
        _hand_over(new, project, clone, *sys.argv[sys.argv.index("update") :])
        if new.commit != old.commit and _is_older(clone, new.commit, old.commit):
            click.echo(f"Version {new.number} ({new.commit[:10]}) is older: this goes back.")
        answers = _migrated(project.answers, old, new, given)
        unanswered = [prompt for prompt in new.prompts if prompt not in answers]
        if ask_new:
            answers |= {prompt: _asked(new, prompt) for prompt in unanswered}
        if new.commit == old.commit and answers == project.answers:
            click.echo(f"Nothing to do: it has version {old.number} with these answers.")
            return
        base, theirs, answers = _merged_by(project, old, new, answers)
        for prompt in unanswered:
            click.echo(f"New: {prompt} is {answers[prompt]}.")
        _tell_of_revisions(project.revisions_lost(base, theirs))
        if dry_run:
            click.echo(project.repository.ask("diff", "--name-status", base, theirs))
            _tell("Conflicts to expect in", project.conflicts(base, theirs))
            return
        conflicts = project.merge(theirs)
        if conflicts:
            _tell("Conflicts", conflicts)
            click.echo(
                "Mend them, git add and git commit, or go back with git reset --hard; nothing is"
                " lost. Run uv lock then, which finds the versions again."
            )
            sys.exit(1)
        project.lock()
        click.echo(f"Merged version {new.number} ({new.commit[:10]}): look at it, and commit it.")


@commands.command()
@click.pass_context
def diff(context: click.Context) -> None:
    """Show what this project has changed of what the template made."""
    with _opened(context) as (project, _, old):
        baked, _answers = old.bake(project.answers)
        (baked / RECORD).write_bytes((project.folder / RECORD).read_bytes())
        base = project.commit(baked)
        ours = [f":(exclude){project.prefix}{name}" for name in OWNED]
        project.repository.run("diff", base, "--", project.prefix or ".", *ours, captured=False)


@commands.command()
@click.argument("template", metavar="URL")
@click.option("--commit", metavar="TAG", help="What the project was made from, if not the latest.")
@click.option("--directory", help="Where the template lies in its repository.")
@click.option("--set", "settings", multiple=True, metavar="PROMPT=VALUE", help="What was answered.")
@click.pass_context
def link(
    context: click.Context,
    template: str,
    commit: str | None,
    directory: str | None,
    settings: tuple[str, ...],
) -> None:
    """Record where this project comes from, or where its template is now."""
    project = Project(context.obj[0])
    record: dict[str, Any] = {"directory": directory, "context": {"cookiecutter": {}}}
    if (project.folder / RECORD).exists():
        record = project.record
        commit = commit or record["commit"]
    with cloned(template) as clone:
        found = clone.commit_of(commit or next(reversed(clone.releases()), "HEAD"))
        version = laid_out(clone, found, record["directory"])
        given = {
            prompt: _choice(version, prompt, answer)
            for prompt, answer in (project.answers | _parsed(settings)).items()
        }
        baked, answers = version.bake(given)
        base = project.commit(baked)
        names = project.repository.ask("diff", "--name-only", base, "HEAD").splitlines()
        changed = [name for name in names if Path(name).name != RECORD]
        number = version.number
    record = {
        "template": template,
        "commit": found,
        "checkout": None,
        "context": {"cookiecutter": {**answers, "_template": template}},
        "directory": record["directory"],
    }
    (project.folder / RECORD).write_text(_text(record), "utf-8", newline="\n")
    click.echo(
        f"Recorded, for you to commit. Files that differ from what version {number} makes of"
        f" these answers: {len(changed)}."
    )


if __name__ == "__main__":
    commands()
