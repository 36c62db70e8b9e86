-- The index of the queue, in numbered steps; user_version tells how many were taken.
-- A step that was ever released is never changed: what comes later is a new step.

-- step: 1

-- Where recipients go next. Few rows, named by many recipients.
CREATE TABLE hop (
    id    INTEGER PRIMARY KEY,
    route TEXT NOT NULL,
    name  TEXT NOT NULL,
    UNIQUE (route, name)
);

-- Accepted messages. The id is the integer of the queue id (it rises with time).
CREATE TABLE message (
    id            INTEGER PRIMARY KEY,
    sender_local  TEXT,              -- both NULL: the null reverse-path
    sender_domain TEXT,
    account       TEXT NOT NULL,
    lane          INTEGER NOT NULL,
    size          INTEGER NOT NULL,  -- octets sent: head and body
    received_at   REAL NOT NULL,     -- all times are seconds since 1970, UTC
    expires_at    REAL NOT NULL,
    warn_at       REAL,              -- NULL: no delay warning is due any more
    segment       INTEGER NOT NULL,  -- where the spool has it
    offset        INTEGER NOT NULL,
    length        INTEGER NOT NULL,
    flags         INTEGER NOT NULL,  -- 1 dotted, 2 BODY=8BITMIME, 4 SMTPUTF8, 8 BODY=BINARYMIME
    ret           TEXT,              -- RFC 3461 RET
    envid         TEXT,              -- RFC 3461 ENVID, still encoded
    tracked       INTEGER NOT NULL   -- 1 from when a recipient first waits or is held
);

-- Most messages are delivered at their first attempt: they never enter these. An index ends in the
-- column of its own condition, for else SQLite looks that up in the table, row by row.
CREATE INDEX message_expiry ON message (expires_at) WHERE tracked = 1;
CREATE INDEX message_warning ON message (warn_at) WHERE tracked = 1 AND warn_at IS NOT NULL;
CREATE INDEX message_place ON message (segment, offset, length, tracked) WHERE tracked = 1;

-- What is scheduled. State: 0 waiting, 1 active, 2 held, 3 delivered, 4 failed, 5 cancelled.
CREATE TABLE recipient (
    message          INTEGER NOT NULL,
    n                INTEGER NOT NULL,
    hop              INTEGER NOT NULL,
    lane             INTEGER NOT NULL,  -- the message's, for the index
    state            INTEGER NOT NULL,
    due              REAL NOT NULL,
    attempts         INTEGER NOT NULL,
    local            TEXT NOT NULL,
    domain           TEXT NOT NULL,
    notify           INTEGER,           -- RFC 3461 NOTIFY: 0 never, else 1 success, 2 failure, 4 delay
    orcpt            TEXT,              -- RFC 3461 ORCPT, still encoded
    first_greylisted REAL,
    hints_used       INTEGER NOT NULL,
    warned           INTEGER NOT NULL,
    last             TEXT,              -- the last outcome, as JSON
    last_attempt_at  REAL,
    told             INTEGER NOT NULL,  -- its end is settled with the sender
    PRIMARY KEY (message, n)
) WITHOUT ROWID;

-- The scheduler asks hop by hop: an order over all hops would let one dead
-- destination with many recipients stand before everybody else.
CREATE INDEX recipient_waiting ON recipient (hop, lane, due, message, n, state) WHERE state = 0;

-- The few that are in an attempt or held, so that nobody reads all rows to find them.
CREATE INDEX recipient_busy ON recipient (state) WHERE state IN (1, 2);

-- Whose end the sender is to hear of: the condition is that of the fragment news.
CREATE INDEX recipient_news ON recipient (message)
WHERE told = 0 AND (state = 4 OR (state = 3 AND notify & 1));

-- For operators. What is in its first attempt never enters it.
CREATE INDEX recipient_domain ON recipient (domain) WHERE state IN (0, 2);

-- step: 2

-- What the sender asked of the message's whole way (REQUIRETLS, MT-PRIORITY, FUTURERELEASE), as JSON;
-- NULL: nothing, as nearly all.
ALTER TABLE message ADD COLUMN handling TEXT;

-- Messages that require TLS go by ways of their own.
CREATE TABLE hop_2 (
    id         INTEGER PRIMARY KEY,
    route      TEXT NOT NULL,
    name       TEXT NOT NULL,
    requiretls INTEGER NOT NULL,
    UNIQUE (route, name, requiretls)
);
INSERT INTO hop_2 SELECT id, route, name, 0 FROM hop;
DROP TABLE hop;
ALTER TABLE hop_2 RENAME TO hop;

-- step: 3

-- What accounts with a quota sent: a row an account and hour, for as long as the day lasts.
CREATE TABLE charge (
    hour       INTEGER NOT NULL,     -- since 1970, UTC
    account    TEXT NOT NULL,
    messages   INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    PRIMARY KEY (hour, account)
) WITHOUT ROWID;

-- Under which key a message was accepted, so that its repeat is not. It outlives the message.
CREATE TABLE submission_key (
    account    TEXT NOT NULL,
    name       TEXT NOT NULL,
    message    INTEGER NOT NULL,
    digest     BLOB NOT NULL,        -- SHA-256 of what was submitted
    expires_at REAL NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;

CREATE INDEX submission_key_expiry ON submission_key (expires_at);

-- step: 4

-- Attempts that did not deliver, as long as their message is here. `number` counts the recipient's.
CREATE TABLE attempt (
    message INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    what    TEXT NOT NULL,           -- a Trace and an Outcome, as JSON
    PRIMARY KEY (message, n, number)
) WITHOUT ROWID;

-- step: 5

-- How often the queue was opened. The spool knows it, too: an index with less is from a backup, or
-- without its log.
CREATE TABLE opened (run INTEGER NOT NULL);
INSERT INTO opened VALUES (0);

-- step: 6

-- Who holds a recipient and why, as JSON. A content policy's word was kept as an outcome before,
-- an operator's not at all.
ALTER TABLE recipient ADD COLUMN held TEXT;
UPDATE recipient SET last = NULL, held = json_object(
    'policy', substr(last ->> 'text', 16, instr(last ->> 'text', ': ') - 16),
    'reason', substr(last ->> 'text', instr(last ->> 'text', ': ') + 2),
    'at', (SELECT received_at FROM message WHERE id = recipient.message))
WHERE state = 2 AND attempts = 0 AND json_valid(last) AND last ->> 'text' LIKE 'held by policy %: %';
UPDATE recipient SET held = json_object('policy', NULL, 'reason', '', 'at', NULL)
WHERE state = 2 AND held IS NULL;
