"""`@cached`: results of asynchronous functions and methods."""

import inspect
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from inspect import Parameter
from typing import Any, ParamSpec, TypeVar, get_type_hints

from pydantic import TypeAdapter

from app.errors import ServiceError, TimedOut, Unavailable
from app.infra.cache.cache import Cache, Loaded
from app.infra.cache.keys import digest_of, schema_digest

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Function = Callable[Arguments, Coroutine[Any, Any, Result]]

UNREACHABLE: tuple[type[Exception], ...] = (Unavailable, TimedOut, OSError)
"""What a source raises that does not answer: errors that say nothing about the value."""

_RESULT, _ERROR = b"r", b"e"
# Of an error: its name and its sentence.
_said = TypeAdapter(tuple[str, str])


def cached(
    *,
    ttl_seconds: float,
    tags: Callable[..., Collection[str]] | None = None,
    stale_seconds: float = 0,
    hide: tuple[type[Exception], ...] = UNREACHABLE,
    errors: tuple[type[ServiceError], ...] = (),
    none: bool = True,
    ignore: Collection[str] = (),
    version: int = 1,
    cache: Cache | None = None,
) -> Callable[[Function[Arguments, Result]], Function[Arguments, Result]]:
    """Cache what an asynchronous function returns, by its arguments.

    The return annotation says how results are written and read: everybody gets a copy of their
    own, and a changed type leaves older entries behind.

    Args:
        ttl_seconds: how long a result is fresh; a little less, at random.
        tags: of a result, from the result and the arguments (`lambda result, order_id: …`).
            `Cache.forget` with one of them outdates it. Of an error, the result is None.
        stale_seconds: how much longer a result is better than an error.
        hide: the errors that it is better than.
        errors: errors that are cached like results; they are raised anew with their sentence.
        none: whether None is cached.
        ignore: parameters that do not change the result, like sessions and requests; `self` is
            always one.
        version: count it up when the meaning of the result changes, but not its type.
        cache: for a function; a method takes the one that its object has as `cache`.

    Raises:
        TypeError: the annotation is missing, or JSON cannot hold what it says.
    """

    def decorate(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
        if "return" not in function.__annotations__:
            raise TypeError(f"{function.__qualname__} is cached, and needs a return annotation.")
        plan = _Plan(
            function=function,
            name=f"{function.__module__}.{function.__qualname__}",
            signature=inspect.signature(function),
            ignore=frozenset({"self", *ignore}),
            version=version,
            errors=errors,
            cache=cache,
        )

        @wraps(function)
        async def through_cache(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            bound = plan.bind(*args, **kwargs)
            chosen = plan.cache_of(bound)

            async def load() -> Loaded:
                payload, result = await plan.run(*args, **kwargs)
                kept = none or result is not None
                return Loaded(
                    payload,
                    ttl_seconds=ttl_seconds if kept else 0,
                    stale_seconds=stale_seconds,
                    tags=tags(result, **plan.visible(bound)) if tags and kept else (),
                )

            key = plan.key_in(chosen, bound)
            entry = await chosen.get(plan.name, key, load, hide=hide)
            try:
                return plan.read(entry.payload)  # type: ignore[no-any-return]
            except ValueError:
                # Something else lies there, under a key that cannot be anybody else's.
                chosen.figures[plan.name].errors += 1
                await chosen.forget(keys=[key])
                return plan.read((await chosen.get(plan.name, key, load)).payload)  # type: ignore[no-any-return]

        through_cache.plan = plan  # type: ignore[attr-defined]
        return through_cache

    return decorate


def key_of(
    function: Function[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> str:
    """The key under which the result of these arguments is cached, for `Cache.forget`."""
    plan: _Plan = function.plan  # type: ignore[attr-defined]
    owner = getattr(function, "__self__", None)
    bound = plan.bind(*([] if owner is None else [owner]), *args, **kwargs)
    return plan.key_in(plan.cache_of(bound), bound)


@dataclass(frozen=True)
class _Plan:
    """What is known of a cached function before it is called."""

    function: Callable[..., Coroutine[Any, Any, Any]]
    name: str
    signature: inspect.Signature
    ignore: frozenset[str]
    version: int
    errors: tuple[type[ServiceError], ...]
    cache: Cache | None

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """For what the function returns; made late, since annotations may look forward."""
        return TypeAdapter(get_type_hints(self.function, include_extras=True)["return"])

    @cached_property
    def family(self) -> str:
        """What the keys of this function have in common, in this version of its type."""
        return f"{self.name}:{self.version}-{schema_digest(self.adapter)}"

    @cached_property
    def _names(self) -> Sequence[str] | None:
        """Of the parameters, unless one takes any number of arguments, or has to be named."""
        parameters = self.signature.parameters.values()
        positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        plain = all(parameter.kind in positional for parameter in parameters)
        return [parameter.name for parameter in parameters] if plain else None

    def bind(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The arguments by name, those that were left out included."""
        if self._names is not None and len(args) == len(self._names) and not kwargs:
            return dict(zip(self._names, args, strict=True))
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def visible(self, bound: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in bound.items() if name not in self.ignore}

    def cache_of(self, bound: dict[str, Any]) -> Cache:
        if self.cache is not None:
            return self.cache
        cache = getattr(next(iter(bound.values()), None), "cache", None)
        if not isinstance(cache, Cache):
            raise TypeError(
                f"{self.name} finds no cache: pass `cache=` for a function; give the object of a"
                " method one as `cache`."
            )
        return cache

    def key_in(self, cache: Cache, bound: dict[str, Any]) -> str:
        return cache.key(self.family, digest_of(self.visible(bound)))

    async def run(self, *args: Any, **kwargs: Any) -> tuple[bytes, Any]:
        """The result as bytes, and itself; an error that is to be cached counts as None."""
        try:
            result = await self.function(*args, **kwargs)
        except self.errors as error:
            if type(error) not in self.errors:
                # One of a kind that was declared, but perhaps not made from a sentence alone.
                raise
            return _ERROR + _said.dump_json((type(error).__name__, error.detail)), None
        # What was left unset stays so: responses leave it out.
        return _RESULT + self.adapter.dump_json(result, exclude_unset=True), result

    def read(self, payload: bytes) -> Any:
        """The result that `run` has written, or its error, raised."""
        kind, text = payload[:1], payload[1:]
        if kind == _RESULT:
            return self.adapter.validate_json(text)
        name, detail = _said.validate_json(text if kind == _ERROR else b"")
        for error in self.errors:
            if error.__name__ == name:
                raise error(detail)
        raise ValueError(f"{name} is cached no longer")
