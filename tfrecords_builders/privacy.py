"""Names of patients, studies and files, replaced by keyed hashes in everything that is written.

Equal names get equal hashes under one salt, so that patients stay groups and builds stay
comparable; without the salt nobody can find a name by trying all of them.
"""

import hashlib
from pathlib import Path

from keras_transfer.core.errors import UserError

_MIN_BYTES = 16


class Pseudonyms:
    """Replaces names by 32 hexadecimal digits, or leaves them as they are.

    Args:
        salt_file: A file of at least 16 secret bytes; "" leaves names as they are.

    Raises:
        UserError: If the file is missing or too short.
    """

    def __init__(self, salt_file: str):
        self._key = _read(Path(salt_file)) if salt_file else b""

    def __call__(self, name: str) -> str:
        """Returns what is written instead of a name; "" (unknown) stays "".

        Keyed BLAKE2b (RFC 7693), cut to 128 bits.
        """
        if not self._key or not name:
            return name
        return hashlib.blake2b(name.encode(), key=self._key, digest_size=16).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Tells salts apart without telling them; "" if names stay."""
        return self("the salt itself") if self._key else ""


def _read(path: Path) -> bytes:
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise UserError(f"--hash_patients={path}: {error.strerror}.") from None
    if len(secret) < _MIN_BYTES:
        raise UserError(
            f"--hash_patients={path}: {len(secret)} bytes are too few to be secret: make one with "
            f"head -c 32 /dev/urandom > {path}"
        )
    # BLAKE2b takes keys of 64 bytes.
    return hashlib.blake2b(secret).digest()
