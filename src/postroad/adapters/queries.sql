-- Every statement of the index, by name. {message}, {recipient} and {open} stand for the
-- fragments of those names; the order of columns is what sqlite_rows.py reads and writes.

-- fragment: message
m.id, m.sender_local, m.sender_domain, m.account, m.lane, m.size, m.received_at, m.expires_at,
m.warn_at, m.segment, m.offset, m.length, m.flags, m.ret, m.envid, m.handling

-- fragment: recipient
r.message, r.n, r.state, r.due, r.attempts, r.local, r.domain, r.notify, r.orcpt,
r.first_greylisted, r.hints_used, r.warned, r.last, r.last_attempt_at, r.told, r.held,
h.route, h.name, h.requiretls

-- fragment: open
(0, 1, 2)

-- Somebody is to be told of this recipient: failed, or delivered with NOTIFY=SUCCESS.
-- fragment: news
(told = 0 AND (state = 4 OR (state = 3 AND notify & 1)))

-- In an attempt or held. SQLite takes the index of that name only for its very condition.
-- fragment: busy
state IN (1, 2) AND state

-- Messages that are not tracked and not over: all of their recipients are in the first attempt,
-- or one is to be told of.
-- fragment: untracked
tracked = 0 AND id IN (
    SELECT message FROM recipient WHERE state IN (1, 2) AND state = 1
    UNION SELECT message FROM recipient
    WHERE told = 0 AND (state = 4 OR (state = 3 AND notify & 1)))

-- What some operator's command is about. A condition that is NULL holds.
-- fragment: wanted
(:state IS NULL OR r.state = :state)
AND (:domain IS NULL OR r.domain = :domain)
AND (:to_domain IS NULL OR (r.domain = :to_domain AND r.local = :to_local COLLATE NOCASE))
AND (:sender_domain IS NULL OR (m.sender_domain = :sender_domain AND m.sender_local = :sender_local COLLATE NOCASE))
AND (:null_sender IS NULL OR m.sender_domain IS NULL)
AND (:older_than IS NULL OR m.received_at < :older_than)
AND (:sites IS NULL OR EXISTS (SELECT 1 FROM json_each(:sites) site
    WHERE site.value IN (h.name, h.route, h.route || ':' || h.name)))

-- Nobody works on a message: something waits, nothing is in an attempt or to be told.
-- fragment: at_rest
EXISTS (SELECT 1 FROM recipient WHERE message = m.id AND state IN (0, 2))
AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = m.id
    AND (state = 1 OR (told = 0 AND (state = 4 OR (state = 3 AND notify & 1)))))


-- --- whose it is ---

-- name: run
SELECT run FROM opened

-- name: open
UPDATE opened SET run = ?


-- --- hops ---

-- name: find_hop
SELECT id FROM hop WHERE route = ? AND name = ? AND requiretls = ?

-- name: add_hop
INSERT INTO hop (route, name, requiretls) VALUES (?, ?, ?)

-- Hops that nobody names any more. Reads every recipient once it has found one of which nobody is
-- open: at the end, when no message waits for it.
-- name: forget_hops
DELETE FROM hop
WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE state = 0 AND recipient.hop = hop.id)
AND id NOT IN (SELECT hop FROM recipient WHERE state <> 0)

-- One seek a hop and lane into the partial index, however many wait behind it.
-- name: hops
SELECT route, name, requiretls, due FROM (
    SELECT h.route, h.name, h.requiretls, (
        SELECT min(first) FROM (
            SELECT (SELECT min(due) FROM recipient
                    WHERE state = 0 AND hop = h.id AND lane = lanes.value) AS first
            FROM json_each('[0, 1, 2]') AS lanes
        )
    ) AS due FROM hop h
) WHERE due IS NOT NULL

-- name: next_due
SELECT min(first) FROM (
    SELECT (SELECT min(due) FROM recipient WHERE state = 0 AND hop = ?1 AND lane = 0) AS first
    UNION ALL SELECT (SELECT min(due) FROM recipient WHERE state = 0 AND hop = ?1 AND lane = 1)
    UNION ALL SELECT (SELECT min(due) FROM recipient WHERE state = 0 AND hop = ?1 AND lane = 2)
)

-- name: hop_states
SELECT h.route, h.name, h.requiretls, found.state, found.count, found.due FROM (
    SELECT hop, 0 AS state, count(*) AS count, min(due) AS due FROM recipient WHERE state = 0 GROUP BY hop
    UNION ALL
    SELECT hop, state, count(*), NULL FROM recipient WHERE state IN (1, 2) GROUP BY hop, state
) found JOIN hop h ON h.id = found.hop


-- --- messages ---

-- name: add_message
-- More rows may follow: ", (?, ...)".
INSERT INTO message (id, sender_local, sender_domain, account, lane, size, received_at, expires_at,
    warn_at, segment, offset, length, flags, ret, envid, handling, tracked)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: track
UPDATE message SET tracked = 1 WHERE id = ? AND tracked = 0

-- name: add_recipient
INSERT INTO recipient (message, n, hop, lane, state, due, attempts, local, domain, notify, orcpt,
    first_greylisted, hints_used, warned, last, last_attempt_at, told)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- One of which nothing is known yet: what is not bound costs a tenth.
-- name: add_new_recipient
INSERT INTO recipient (message, n, hop, lane, state, due, attempts, local, domain, notify, orcpt,
    first_greylisted, hints_used, warned, last, last_attempt_at, told)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, 0, 0, NULL, NULL, 0)

-- Why one is held that was added so.
-- name: hold
UPDATE recipient SET held = ? WHERE message = ? AND n = ?

-- name: find_message
SELECT {message} FROM message m WHERE m.id = ?

-- name: recipients_of
SELECT {recipient} FROM recipient r JOIN hop h ON h.id = r.hop WHERE r.message = ? ORDER BY r.n

-- name: open_recipients_of
SELECT {recipient} FROM recipient r JOIN hop h ON h.id = r.hop
WHERE r.message = ? AND r.state IN {open} ORDER BY r.n

-- Is anything of a message still to happen or to be told?
-- name: has_open_or_news
SELECT EXISTS (SELECT 1 FROM recipient WHERE message = ? AND (state IN {open} OR {news}))

-- name: tell
UPDATE recipient SET told = 1 WHERE message = ? AND n = ? AND told = 0

-- A message of which nothing is in an attempt: has it news, has it open recipients?
-- name: finished
SELECT {message},
    EXISTS (SELECT 1 FROM recipient WHERE message = m.id AND {news}),
    EXISTS (SELECT 1 FROM recipient WHERE message = m.id AND state IN {open})
FROM message m WHERE m.id = ? AND NOT EXISTS (
    SELECT 1 FROM recipient WHERE message = m.id AND state = 1)

-- Of [message, how many of its recipients a burst delivers] those that are over with it:
-- all of its recipients, each in an attempt, and nobody asked to hear of success. One row, a
-- JSON array of {message}, each with whether it ever waited.
-- name: all_delivered
SELECT json_group_array(json_array({message}, m.tracked))
FROM json_each(?) burst CROSS JOIN message m ON m.id = burst.value ->> 0
WHERE (SELECT count(*) FROM recipient WHERE message = m.id) = burst.value ->> 1
AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = m.id AND (state <> 1 OR notify & 1))

-- name: remove_recipients_of
DELETE FROM recipient WHERE message IN (SELECT value FROM json_each(?))

-- name: remove_messages
DELETE FROM message WHERE id IN (SELECT value FROM json_each(?))

-- name: remove_message
DELETE FROM message WHERE id = ?

-- name: remove_recipients
DELETE FROM recipient WHERE message = ?

-- name: movable
SELECT {message} FROM message m WHERE m.tracked = 1 AND m.segment = ? AND {at_rest} ORDER BY m.offset

-- name: move
UPDATE message AS m SET segment = ?4, offset = ?5, length = ?6
WHERE m.id = ?1 AND m.segment = ?2 AND m.offset = ?3 AND {at_rest}

-- name: clear_warning
UPDATE message SET warn_at = NULL WHERE id = ? AND warn_at IS NOT NULL

-- name: mark_warned
UPDATE recipient SET warned = 1 WHERE message = ? AND state IN {open}


-- --- what is written with a message ---

-- name: charge
INSERT INTO charge (hour, account, messages, recipients) VALUES (?, ?, ?, ?)
ON CONFLICT (hour, account) DO UPDATE SET
    messages = messages + excluded.messages, recipients = recipients + excluded.recipients

-- name: charges
SELECT account, hour, recipients, messages FROM charge WHERE hour >= ? ORDER BY hour, account

-- name: all_charges
SELECT hour, account, messages, recipients FROM charge

-- name: sweep_charges
DELETE FROM charge WHERE (hour, account) IN (
    SELECT hour, account FROM charge WHERE hour < ? ORDER BY hour LIMIT ?)

-- A key that has expired is as good as none, swept or not.
-- name: expire_key
DELETE FROM submission_key WHERE account = ? AND name = ? AND expires_at <= ?

-- name: keep_key
INSERT INTO submission_key (account, name, message, digest, expires_at) VALUES (?, ?, ?, ?, ?)

-- name: known
SELECT message, digest FROM submission_key WHERE account = ? AND name = ? AND expires_at > ?

-- name: keyed
SELECT DISTINCT account FROM submission_key WHERE expires_at > ? ORDER BY account

-- name: all_keys
SELECT account, name, message, digest, expires_at FROM submission_key

-- name: sweep_keys
DELETE FROM submission_key WHERE (account, name) IN (
    SELECT account, name FROM submission_key WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)


-- --- claims ---

-- Due recipients of a hop. A range of the index a lane, each ended by the limit: what
-- is due later, or lies in a later lane, is never looked at.
-- name: due
SELECT * FROM (SELECT message, n, due FROM recipient
    WHERE state = 0 AND hop = ?1 AND lane = 0 AND due <= ?2 ORDER BY due, message, n LIMIT ?3)
UNION ALL
SELECT * FROM (SELECT message, n, due FROM recipient
    WHERE state = 0 AND hop = ?1 AND lane = 1 AND due <= ?2 ORDER BY due, message, n LIMIT ?3)
UNION ALL
SELECT * FROM (SELECT message, n, due FROM recipient
    WHERE state = 0 AND hop = ?1 AND lane = 2 AND due <= ?2 ORDER BY due, message, n LIMIT ?3)
LIMIT ?3

-- name: expired
SELECT r.message, r.n, r.due FROM message m CROSS JOIN recipient r ON r.message = m.id
WHERE m.tracked = 1 AND m.expires_at <= ? AND r.state = 0 ORDER BY m.expires_at, r.message, r.n LIMIT ?

-- name: claim
UPDATE recipient SET state = 1, attempts = attempts + 1, due = ?3 WHERE message = ?1 AND n = ?2

-- name: activate
UPDATE recipient SET state = 1 WHERE message = ? AND n = ?

-- name: claimed
SELECT {message}, {recipient} FROM message m JOIN recipient r ON r.message = m.id
JOIN hop h ON h.id = r.hop WHERE r.message = ? AND r.n = ?

-- name: defer
UPDATE recipient SET due = ?4, last = ?5 WHERE (message, n) IN (
    SELECT message, n FROM recipient WHERE state = 0 AND hop = ?1 AND lane = ?2 AND due <= ?3
    ORDER BY due LIMIT ?6)

-- Of [message, first, last recipient] whose delivery was heard before a crash, and not committed:
-- delivered, but for those whose sender is to hear of it, and needs the words of the receiver.
-- name: heard
UPDATE recipient SET state = 3, last_attempt_at = ?2
WHERE {busy} = 1 AND (notify IS NULL OR NOT notify & 1)
AND (message, n) IN (SELECT r.message, r.n FROM json_each(?1) span CROSS JOIN recipient r
    ON r.message = span.value ->> 0 AND r.n BETWEEN span.value ->> 1 AND span.value ->> 2)
RETURNING message

-- Who is in an attempt, and stands in one of [message, first, last recipient].
-- name: claimed_of
SELECT DISTINCT r.message, r.local, r.domain FROM json_each(?1) span CROSS JOIN recipient r
    ON r.message = span.value ->> 0 AND r.n BETWEEN span.value ->> 1 AND span.value ->> 2
WHERE r.state = 1 ORDER BY r.message, r.n

-- name: all_claimed
SELECT message, local, domain FROM recipient WHERE {busy} = 1 ORDER BY message, n

-- name: track_claimed
UPDATE message SET tracked = 1
WHERE tracked = 0 AND id IN (SELECT message FROM recipient WHERE {busy} = 1)

-- name: void_claims
UPDATE recipient SET state = 0, due = min(due, iif(attempts > ?3, ?2, ?1)),
    attempts = attempts - (attempts > ?3)
WHERE {busy} = 1


-- --- outcomes ---

-- Without an outcome (?6) nothing was tried: only state, due and attempts change.
-- name: change_active
UPDATE recipient SET state = ?3, due = ?4, attempts = ?5,
    last = coalesce(?6, last),
    last_attempt_at = iif(?6 IS NULL, last_attempt_at, ?7),
    first_greylisted = iif(?6 IS NULL, first_greylisted, ?8),
    hints_used = iif(?6 IS NULL, hints_used, ?9)
WHERE message = ?1 AND n = ?2 AND state = 1

-- The same for operators, who do not touch what is in an attempt, and may hold.
-- name: change_idle
UPDATE recipient SET state = ?3, due = ?4, attempts = ?5, held = ?10,
    last = coalesce(?6, last),
    last_attempt_at = iif(?6 IS NULL, last_attempt_at, ?7),
    first_greylisted = iif(?6 IS NULL, first_greylisted, ?8),
    hints_used = iif(?6 IS NULL, hints_used, ?9)
WHERE message = ?1 AND n = ?2 AND state IN (0, 2)


-- --- attempts ---

-- name: keep_attempt
INSERT OR REPLACE INTO attempt (message, n, number, what) VALUES (?, ?, ?, ?)

-- name: forget_attempts
DELETE FROM attempt WHERE message = ? AND n = ? AND number <= ?

-- name: attempts_of
SELECT n, number, what FROM attempt WHERE message = ? ORDER BY n, number

-- name: remove_attempts
DELETE FROM attempt WHERE message = ?

-- Of an old index, for a new one made from the segments. What is in an attempt counted it beforehand.
-- name: all_attempts
SELECT message, n, number, what FROM attempt

-- name: all_tries
SELECT message, n, attempts - (state = 1), first_greylisted, hints_used, warned, last, last_attempt_at
FROM recipient WHERE state IN {open} AND typeof(attempts) = 'integer' AND attempts > (state = 1)

-- name: open_messages
SELECT DISTINCT message FROM recipient WHERE state IN {open}

-- name: all_held
SELECT message, n, held FROM recipient WHERE state = 2

-- The same of an index before schema 6.
-- name: all_held_before
SELECT message, n, NULL FROM recipient WHERE state = 2

-- Is one open, and not held?
-- name: let_go
SELECT 1 FROM recipient WHERE message = ? AND n = ? AND state IN (0, 1)

-- name: carry_attempt
INSERT OR REPLACE INTO attempt (message, n, number, what) SELECT ?1, ?2, ?3, ?4
WHERE EXISTS (SELECT 1 FROM recipient WHERE message = ?1 AND n = ?2)

-- name: carry_tries
UPDATE recipient SET attempts = ?3, first_greylisted = ?4, hints_used = ?5, warned = ?6,
    last = coalesce(?7, last), last_attempt_at = ?8
WHERE message = ?1 AND n = ?2

-- What the old index does not know the segments may.
-- name: carry_hold
UPDATE recipient SET state = 2, held = coalesce(?3, held, ?4)
WHERE message = ?1 AND n = ?2 AND state IN (0, 2)

-- name: carry_release
UPDATE recipient SET state = 0, held = NULL WHERE message = ?1 AND n = ?2 AND state = 2


-- --- at start, and looks ---

-- What is over without news was removed by the change that ended it.
-- name: unsettled
SELECT {message} FROM message m WHERE m.id IN (SELECT message FROM recipient WHERE {news})
ORDER BY m.id LIMIT ?

-- name: delayed
SELECT {message} FROM message m WHERE m.tracked = 1 AND m.warn_at <= ?
AND EXISTS (SELECT 1 FROM recipient r WHERE r.message = m.id AND r.state IN {open})
ORDER BY m.warn_at, m.id LIMIT ?

-- name: places_in
SELECT segment, offset FROM message
WHERE tracked = 1 AND segment IN (SELECT value FROM json_each(?1))
UNION ALL SELECT segment, offset FROM message
WHERE {untracked} AND segment IN (SELECT value FROM json_each(?1))

-- name: live
SELECT segment, sum(messages), sum(octets) FROM (
    SELECT segment, count(*) AS messages, sum(length) AS octets FROM message
    WHERE tracked = 1 GROUP BY segment
    UNION ALL SELECT segment, 1, length FROM message WHERE {untracked}
) GROUP BY segment

-- name: count_states
SELECT 0, count(*) FROM recipient WHERE state = 0
UNION ALL SELECT state, count(*) FROM recipient WHERE state IN (1, 2) GROUP BY state

-- One recipient that waits for a hop, the first of those that are due first.
-- name: sample
SELECT {message}, {recipient} FROM hop h CROSS JOIN recipient r ON r.hop = h.id AND r.state = 0
JOIN message m ON m.id = r.message
WHERE h.route = ? AND h.name = ? AND h.requiretls = ? LIMIT 1

-- How many open recipients there are of each age: in units of :tick seconds since :now.
-- name: ages
SELECT r.domain, m.sender_domain, r.state, r.attempts = 0 AND r.last IS NULL,
    max(0, CAST((:now - m.received_at) / :tick AS INTEGER)) AS units, count(*)
FROM recipient r JOIN message m ON m.id = r.message JOIN hop h ON h.id = r.hop
WHERE r.state IN {open} AND {wanted}
GROUP BY 1, 2, 3, 4, 5

-- name: count_messages
SELECT (SELECT count(*) FROM message WHERE tracked = 1)
    + (SELECT count(*) FROM message WHERE {untracked})

-- A page of open recipients in id order, after (:message, :n).
-- name: select
SELECT {message}, {recipient} FROM recipient r JOIN message m ON m.id = r.message
JOIN hop h ON h.id = r.hop
WHERE (r.message, r.n) > (:message, :n) AND r.state IN {open}
AND {wanted}
ORDER BY r.message, r.n LIMIT :limit

-- The same among the recipients at :at: those that wait by their index, the few others by theirs.
-- name: select_at
SELECT {message}, {recipient} FROM recipient r CROSS JOIN message m ON m.id = r.message
CROSS JOIN hop h ON h.id = r.hop
WHERE r.state IN (0, 2) AND r.domain = :at AND (r.message, r.n) > (:message, :n) AND {wanted}
UNION ALL
SELECT {message}, {recipient} FROM recipient r CROSS JOIN message m ON m.id = r.message
CROSS JOIN hop h ON h.id = r.hop
WHERE r.state IN (1, 2) AND r.state = 1 AND r.domain = :at AND (r.message, r.n) > (:message, :n)
AND {wanted}
ORDER BY message, n LIMIT :limit

-- The same among the messages named by :ids, a JSON array of integers.
-- name: select_ids
SELECT {message}, {recipient} FROM json_each(:ids) ids CROSS JOIN recipient r ON r.message = ids.value
JOIN message m ON m.id = r.message JOIN hop h ON h.id = r.hop
WHERE (r.message, r.n) > (:message, :n) AND r.state IN {open}
AND {wanted}
ORDER BY r.message, r.n LIMIT :limit


-- --- the check of the spool: each finds nothing in a sound index ---

-- name: places
SELECT id, segment, offset, length FROM message

-- name: count_recipients
SELECT count(*) FROM recipient

-- name: envelopes
SELECT m.id, m.sender_local, m.sender_domain, r.n, r.local, r.domain
FROM message m JOIN recipient r ON r.message = m.id ORDER BY m.id, r.n

-- name: bad_messages
SELECT id, 'values that no message has' FROM message
WHERE id NOT BETWEEN 0 AND (1 << 60) - 1 OR typeof(segment) <> 'integer' OR segment < 1
OR typeof(offset) <> 'integer' OR offset < 0 OR typeof(length) <> 'integer' OR length < 1
OR typeof(size) <> 'integer' OR size < 0 OR typeof(flags) <> 'integer' OR flags NOT BETWEEN 0 AND 15
OR typeof(lane) <> 'integer' OR lane NOT BETWEEN 0 AND 2 OR typeof(account) <> 'text'
OR typeof(received_at) <> 'real' OR typeof(expires_at) <> 'real' OR typeof(warn_at) NOT IN ('real', 'null')
OR NOT json_valid(coalesce(handling, '{{}}')) OR (sender_local IS NULL) <> (sender_domain IS NULL)

-- name: bad_states
SELECT r.message, 'recipient ' || r.n || ': state ' || r.state || ', attempts ' || r.attempts
    || ', told ' || r.told || iif(h.id IS NULL, ', no hop', '')
FROM recipient r LEFT JOIN hop h ON h.id = r.hop
WHERE typeof(r.state) <> 'integer' OR r.state NOT BETWEEN 0 AND 5 OR r.attempts < 0
OR r.told NOT IN (0, 1) OR (r.told = 1 AND r.state IN {open}) OR h.id IS NULL
OR typeof(r.attempts) <> 'integer' OR typeof(r.due) <> 'real' OR typeof(r.local) <> 'text'
OR typeof(r.domain) <> 'text' OR NOT json_valid(coalesce(r.last, '{{}}'))
OR typeof(r.last_attempt_at) NOT IN ('real', 'null') OR typeof(r.first_greylisted) NOT IN ('real', 'null')

-- name: without_message
SELECT DISTINCT message, 'recipients without their message' FROM recipient
WHERE message NOT IN (SELECT id FROM message)

-- name: without_recipients
SELECT id, 'a message without recipients' FROM message
WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE message = message.id)

-- name: over
SELECT id, 'a message that is over, and not removed' FROM message
WHERE EXISTS (SELECT 1 FROM recipient WHERE message = message.id)
AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = message.id AND (state IN {open} OR {news}))

-- name: shared_places
SELECT max(id), 'two messages at segment ' || segment || ', octet ' || offset FROM message
GROUP BY segment, offset HAVING count(*) > 1
