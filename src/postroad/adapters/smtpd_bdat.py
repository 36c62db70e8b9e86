"""BDAT in place of DATA (RFC 3030 CHUNKING, BINARYMIME): a message in chunks of announced length.

Whatever is wrong with a chunk, its octets are taken off the wire before the answer,
so that none of them is ever read as a command. Where nobody can tell how many they
are, the session ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_commands import Verb
from postroad.adapters.smtpd_context import Door
from postroad.adapters.smtpd_receive import FarTooLarge, Reception
from postroad.adapters.smtpd_stream import SessionOver
from postroad.adapters.smtpd_transaction import SubmissionSession
from postroad.mail.chunks import BinaryDecoder, Chunk, ChunkDecoder, parse_bdat
from postroad.mail.esmtp import MailArguments
from postroad.mail.message import Body
from postroad.mail.reply import Reply

SMALL_CHUNK: Final = 1024
"""A chunk of fewer octets costs more than it brings."""
SMALL_CHUNKS: Final = 1000
"""So many of them one message may have; more end the session."""
STRANGERS_CHUNK: Final = 1024 * 1024
"""Octets of a chunk that are thrown away for a client that may not send mail."""


class ChunkSession(SubmissionSession):
    """The session with BDAT: what `Doors` makes one of for each connection."""

    AMID_CHUNKS: ClassVar[Mapping[str, Verb]] = {}

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        # Whether BDAT was said in this transaction, and where it went wrong the answer to the rest.
        self._chunking = False
        self._spoilt: Reply | None = None
        self._decoder: ChunkDecoder | None = None
        self._small = 0

    # --- what else is said amid chunks ---

    def data_amid_chunks(self, argument: str) -> None:
        """RFC 3030 2: the state is indeterminate from here to RSET."""
        self._spoil(replies.DATA_AFTER_BDAT)
        self._error(replies.DATA_AFTER_BDAT)

    def rcpt_amid_chunks(self, argument: str) -> None:
        self._error(replies.RCPT_AFTER_BDAT)

    def _reset(self) -> None:
        super()._reset()
        if self._chunking:
            self._abandon()
            self._chunking, self._spoilt = False, None
            self.VERBS = type(self).VERBS

    def _spoil(self, reply: Reply) -> None:
        """No chunk is taken from here to the end of the transaction; what came is forgotten."""
        self._abandon()
        self._spoilt = reply

    # --- one chunk ---

    async def smtp_BDAT(self, argument: str) -> None:
        chunk = parse_bdat(argument)
        if chunk.size is None:
            # What follows is content, and cannot be told from commands.
            self._refused("data", replies.BDAT_SYNTAX)
            raise SessionOver("error", replies.BDAT_SYNTAX)
        self._busy = True
        try:
            objection = self._objection_to_chunk(chunk)
            if objection is None:
                assert self._mail is not None
                await self._take_chunk(chunk, chunk.size, self._mail)
            else:
                await self._skip(chunk.size)
                self._object(chunk, objection)
        finally:
            self._busy = False

    def _objection_to_chunk(self, chunk: Chunk) -> Reply | None:
        if self._spoilt is not None:
            return self._spoilt
        if not self._extended:
            return self.HELLO_FIRST
        if self._mail is None:
            return self._login_wanted() or replies.MAIL_FIRST
        if not self._recipients:
            return self.NO_RECIPIENTS if self._asked else replies.RCPT_FIRST
        return None if chunk.sound else replies.BDAT_SYNTAX

    def _object(self, chunk: Chunk, objection: Reply) -> None:
        """The rest of a message that is refused already is no further error: it was sent in one go."""
        if self._spoilt is not None or (self._mail is None and self._mail_refused):
            self._answer_chunk(chunk, objection)
        else:
            if self._asked:
                self._begin_chunks()
                self._spoil(replies.BDAT_AFTER_ERROR if objection is replies.BDAT_SYNTAX else objection)
            self._answer_chunk(chunk, objection)
            self._count_error()
        refused = self._spoilt is not None or self._mail_refused
        if chunk.last and refused and self._spoilt is not replies.DATA_AFTER_BDAT:
            self._reset()

    def _answer_chunk(self, chunk: Chunk, reply: Reply) -> None:
        """The last chunk is answered as the whole message is."""
        if chunk.last:
            self._answer(reply)
        else:
            self.say(reply)

    def _begin_chunks(self) -> None:
        if not self._chunking:
            self._chunking = True
            self.VERBS = self.AMID_CHUNKS

    async def _take_chunk(self, chunk: Chunk, size: int, mail: MailArguments) -> None:
        self._begin_chunks()
        reception, decoder = self._begun(mail)
        self._count(chunk, size)
        try:
            await self._read(chunk, size, reception, decoder)
        except SessionOver:
            raise
        except FarTooLarge:
            self._too_far()
        except Exception as error:
            self._report(error)
            raise SessionOver("error", replies.OUT_OF_STEP) from error
        if chunk.last:
            await self._complete(mail, reception)
        elif reception.refusal is not None:
            self._refused("data", reception.refusal)
            self._spoil(replies.BDAT_AFTER_ERROR)
            self._error(reception.refusal)
        else:
            self.say(replies.said(250, "2.0.0", f"{size} octets received"))

    def _begun(self, mail: MailArguments) -> tuple[Reception, ChunkDecoder]:
        reception, decoder = self._reception, self._decoder
        if reception is None or decoder is None:
            self._decoder = decoder = BinaryDecoder() if mail.body is Body.BINARY else ChunkDecoder()
            self._reception = reception = Reception(self._config, self._stage, decoder)
            self._begin_time()
            self._small = 0
        return reception, decoder

    def _count(self, chunk: Chunk, size: int) -> None:
        if size < SMALL_CHUNK and not chunk.last:
            self._small += 1
            if self._small > SMALL_CHUNKS:
                raise SessionOver("limit", replies.TOO_MANY_CHUNKS)

    async def _read(self, chunk: Chunk, size: int, reception: Reception, decoder: ChunkDecoder) -> None:
        """Feed the octets of a chunk, at the rate that DATA must keep."""
        whole = reception.received + size
        if whole > 2 * self._config.max_message_size:
            raise FarTooLarge
        if whole > self._config.max_message_size:
            reception.refuse(replies.TOO_LARGE)
        while True:
            piece = await self._piece(size, self._patience()) if size else b""
            size -= len(piece)
            last = chunk.last and not size
            if last:
                decoder.end()
            writing = reception.feed(piece, last)
            if writing is not None:
                await writing
                self._begin_window()
            if not size:
                return

    async def _skip(self, size: int) -> None:
        """Throw away what nobody wants, within the same limits."""
        most = 2 * self._config.max_message_size if self._account() is not None else STRANGERS_CHUNK
        if size > most:
            self._too_far()
        ends, skipped = self.loop.time() + self._config.data_timeout, 0
        while skipped < size:
            left = ends + skipped / self._config.min_data_rate - self.loop.time()
            patience = max(0.0, min(self._config.idle_timeout, left))
            skipped += len(await self._piece(size - skipped, patience))

    def _too_far(self) -> None:
        self._refused("data", replies.TOO_LARGE)
        self.say(replies.TOO_LARGE)
        raise SessionOver("limit", replies.FAR_TOO_LARGE)

    async def _piece(self, most: int, patience: float) -> bytes:
        """What comes next within `patience` seconds, at most `most` octets."""
        octets = self.take_pending()
        if not octets:
            self.deadline.set(patience)
            octets = await self.receive()
            # The disk's time is not the client's.
            self.deadline.clear()
        self.give_back(octets[most:])
        return octets[:most]

    async def _complete(self, mail: MailArguments, reception: Reception) -> None:
        """The last octet is here: decide, answer, and forget the transaction."""
        try:
            content = reception.finish()
            if content is not None and mail.body is Body.BINARY and not _is_lines(content.head):
                # The header of a binary message is text all the same (RFC 3030 3).
                reception.refuse(replies.BARE_NEWLINE_IN_HEADER)
            if content is None or reception.refusal is not None:
                assert reception.refusal is not None
                self._refused("data", reception.refusal)
                self._answer(reception.refusal)
                self._count_error()
            else:
                # From here the body is intake's, whatever becomes of the session.
                self._reception = None
                await self._hand_over(mail, content, reception)
        finally:
            self._reset()


ChunkSession.VERBS = {**SubmissionSession.VERBS, "BDAT": ChunkSession.smtp_BDAT}
ChunkSession.AMID_CHUNKS = {
    **ChunkSession.VERBS,
    "DATA": ChunkSession.data_amid_chunks,
    "RCPT": ChunkSession.rcpt_amid_chunks,
}


def _is_lines(head: bytes) -> bool:
    return head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")
