"""What lies in a cache: a value, how long it is good for, and what it depends on."""

import zlib

import msgspec


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """A value as it is kept; times are seconds since 1970, of the process that loaded it."""

    generation: str
    tokens: dict[str, str]
    """Of each tag, when the value was loaded."""
    created: float
    refresh_at: float
    """From here on it is loaded anew when it is asked for, before it is too old."""
    fresh_until: float
    usable_until: float
    """Until here it is better than an error."""
    payload: bytes
    compressed: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def pack(entry: Entry, compress_minimum_bytes: int) -> bytes:
    """As bytes, its payload compressed when it is large."""
    if len(entry.payload) >= compress_minimum_bytes:
        # zlib's fastest level: a cache is there to save time.
        smaller = zlib.compress(entry.payload, level=1)
        # What was compressed before would only cost time, at each read.
        if len(smaller) < len(entry.payload) * 0.9:
            entry = msgspec.structs.replace(entry, payload=smaller, compressed=True)
    return _encoder.encode(entry)


def unpack(data: bytes) -> Entry:
    """The entry that `pack` made; raises `ValueError` for anything else."""
    try:
        entry = _decoder.decode(data)
        if not entry.compressed:
            return entry
        return msgspec.structs.replace(
            entry, payload=zlib.decompress(entry.payload), compressed=False
        )
    except (msgspec.DecodeError, zlib.error) as error:
        raise ValueError(f"not an entry of this cache: {error}") from None
