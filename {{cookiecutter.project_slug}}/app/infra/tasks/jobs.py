"""What a job is: an async function, and how it is run."""

import inspect
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, Concatenate, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

from app.infra.tasks.run import Run

Function = Callable[Concatenate[Run, ...], Coroutine[Any, Any, Any]]
"""Takes its `Run`, then what it was submitted with, as keywords; returns what JSON can hold."""

_OPTIONS = frozenset({"key", "delay", "deadline"})


class Job:
    """A function that can be submitted, with its limits and what is done when it fails."""

    def __init__(
        self,
        function: Function,
        *,
        retry_on: tuple[type[Exception], ...] = (),
        attempts: int = 5,
        backoff_seconds: float = 1.0,
        backoff_maximum_seconds: float = 300.0,
        time_limit_seconds: float = 300.0,
        every: timedelta | None = None,
    ) -> None:
        """Only the errors in `retry_on` are worth another try, `attempts` in all.

        Before each the pause doubles, from `backoff_seconds` on, and is shortened at random by up
        to a half. What takes longer than `time_limit_seconds` is ended. With `every`, it is also
        submitted by itself, at the multiples of that time since 1970, without arguments.

        Raises:
            TypeError: the function cannot be a job.
        """
        self.function = function
        self.name = name_of(function)
        self.retry_on = retry_on
        self.attempts = attempts
        self.time_limit_seconds = time_limit_seconds
        self.every = every
        self._backoff_seconds = backoff_seconds
        self._backoff_maximum_seconds = backoff_maximum_seconds
        self._arguments = _model(function, self.name)
        self._result: TypeAdapter[Any] = TypeAdapter(get_type_hints(function).get("return", Any))

    def pack(self, arguments: Mapping[str, Any]) -> str:
        """`arguments` as JSON; raises `ValidationError` when the function does not take them."""
        return self._arguments.model_validate(dict(arguments)).model_dump_json(by_alias=True)

    def unpack(self, arguments: str) -> dict[str, Any]:
        """What `pack` has packed; raises `ValidationError` when it was for another function."""
        values = self._arguments.model_validate_json(arguments)
        return {name: getattr(values, name) for name in type(values).model_fields}

    def pack_result(self, result: Any) -> str:
        """`result` as JSON."""
        return self._result.dump_json(result).decode()

    def backoff(self, failures: int) -> timedelta:
        """The pause after so many failures."""
        longest = min(
            self._backoff_maximum_seconds, self._backoff_seconds * 2 ** min(failures - 1, 32)
        )
        return timedelta(seconds=longest * random.uniform(0.5, 1))  # noqa: S311


class Jobs(Mapping[str, Job]):
    """Jobs by name; and by function, for who submits one."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._by_name = {job.name: job for job in jobs}
        self._by_function = {job.function: job for job in self._by_name.values()}

    def of(self, function: Function) -> Job:
        """Raises `TypeError` when no such job is registered."""
        try:
            return self._by_function[function]
        except KeyError:
            raise TypeError(
                f"{name_of(function)} is no job yet; add it to jobs() in app/bootstrap.py"
            ) from None

    def __getitem__(self, name: str) -> Job:
        return self._by_name[name]

    def __iter__(self) -> Any:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def name_of(function: Function) -> str:
    """`orders.send_invoice`, for that function in `app/orders/jobs.py`."""
    module = function.__module__.removeprefix("app.").removesuffix(".jobs")
    return f"{module}.{function.__name__}"


def _model(function: Function, name: str) -> type[BaseModel]:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} is not async; write it with async def")
    hints = get_type_hints(function)
    _run, *parameters = inspect.signature(function).parameters.values()
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name in _OPTIONS or parameter.kind in {
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
            parameter.POSITIONAL_ONLY,
        }:
            raise TypeError(f"{name} cannot be given {parameter.name}; call it something else")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
