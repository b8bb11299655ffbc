-- Loads the answers of a fleet into PostgreSQL 15 or newer: psql -f load.sql, in the directory that contains fleet/.
-- psql reads the files, so the server needs no access to them; find, perl and iconv must be installed.
-- Run it after each collection; it replaces what it loaded before. The page fleet.md explains the files.

\set ON_ERROR_STOP on
CREATE SCHEMA IF NOT EXISTS portolan;
SET search_path TO portolan;

CREATE TABLE IF NOT EXISTS inventory_rows (host text, scope text);
CREATE OR REPLACE VIEW inventory AS
SELECT host, CASE WHEN bool_and(coalesce(scope, '') = 'container') THEN 'container' ELSE 'machine' END AS scope
FROM inventory_rows
WHERE host <> ''
GROUP BY host;

CREATE TABLE IF NOT EXISTS file_lines (path text, line text);
CREATE TABLE IF NOT EXISTS lines (
    day date, host_file text,
    -- columns: made from the JSON Schema by tests/fleet.rs
    "accepted" jsonb,
    "address" text,
    "code" text,
    "complete" boolean,
    "container" text,
    "counts" jsonb,
    "device" text,
    "evidence" jsonb,
    "exe" text,
    "exposure" text,
    "fail_on" text,
    "findings" bigint,
    "flags" text,
    "gaps" jsonb,
    "host" jsonb,
    "host_id" text,
    "identity" text,
    "kind" text,
    "listeners" bigint,
    "namespaces" jsonb,
    "narrowed" text,
    "netns" jsonb,
    "notes" jsonb,
    "owner" text,
    "package" text,
    "peer" text,
    "pid" bigint,
    "policy" jsonb,
    "port" bigint,
    "process" text,
    "processes" jsonb,
    "protocol" text,
    "receives" text,
    "registry" jsonb,
    "remedy" text,
    "rule" text,
    "schema" text,
    "script" text,
    "service" text,
    "service_by" text,
    "severity" text,
    "state" text,
    "status" text,
    "taken" timestamptz,
    "text" text,
    "tool" jsonb,
    "uid" bigint,
    "unit" text,
    "user" text,
    "verdict" text,
    "why" text,
    -- end of columns
    CHECK (kind IS NOT NULL)
);

-- Every column is declared: the table has the types. A line that cannot be read gives NULL; the counts of the first
-- lines then show that the file is damaged.
CREATE OR REPLACE FUNCTION read_line(line text) RETURNS lines LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN jsonb_populate_record(NULL::portolan.lines, line::jsonb - 'day' - 'host_file');
EXCEPTION WHEN others THEN
    RETURN NULL;
END
$$;

BEGIN;
TRUNCATE inventory_rows, file_lines, lines;
\copy inventory_rows from 'fleet/inventory.csv' with (format csv, header true)
-- The path, a tab and the line. Control characters, which JSON escapes, and bytes that are not UTF-8 occur in damaged files only.
\copy file_lines from program 'find fleet -mindepth 2 -maxdepth 2 -name "*.ndjson" -print0 | LC_ALL=C xargs -0 -r perl -ne ''tr/\x00-\x1f//d; print "$ARGV\t$_\n"'' | iconv -c -f UTF-8 -t UTF-8' with (format csv, delimiter E'\t', quote E'\x01', escape E'\x01', encoding 'UTF8')
INSERT INTO lines
SELECT substring(path FROM '([0-9]{4}-[0-9]{2}-[0-9]{2})/[^/]*$')::date, substring(path FROM '([^/]*)[.]ndjson$'),
    -- names of the columns: made from the JSON Schema by tests/fleet.rs
    (one)."accepted",
    (one)."address",
    (one)."code",
    (one)."complete",
    (one)."container",
    (one)."counts",
    (one)."device",
    (one)."evidence",
    (one)."exe",
    (one)."exposure",
    (one)."fail_on",
    (one)."findings",
    (one)."flags",
    (one)."gaps",
    (one)."host",
    (one)."host_id",
    (one)."identity",
    (one)."kind",
    (one)."listeners",
    (one)."namespaces",
    (one)."narrowed",
    (one)."netns",
    (one)."notes",
    (one)."owner",
    (one)."package",
    (one)."peer",
    (one)."pid",
    (one)."policy",
    (one)."port",
    (one)."process",
    (one)."processes",
    (one)."protocol",
    (one)."receives",
    (one)."registry",
    (one)."remedy",
    (one)."rule",
    (one)."schema",
    (one)."script",
    (one)."service",
    (one)."service_by",
    (one)."severity",
    (one)."state",
    (one)."status",
    (one)."taken",
    (one)."text",
    (one)."tool",
    (one)."uid",
    (one)."unit",
    (one)."user",
    (one)."verdict",
    (one)."why"
    -- end of columns
FROM (SELECT path, read_line(line) AS one FROM file_lines WHERE path ~ '/[0-9]{4}-[0-9]{2}-[0-9]{2}/[^/]*$' OFFSET 0) AS lines_read
WHERE (one).kind IS NOT NULL;
TRUNCATE file_lines;

-- One row per file.
CREATE TABLE IF NOT EXISTS scans (
    day date, host text, audit_heads bigint, listing_heads bigint, verdicts bigint, finding_lines bigint,
    listing_lines bigint, findings_expected bigint, listing_expected bigint, other_schema text, ids bigint, id text,
    first_taken timestamptz, taken timestamptz, complete boolean, narrowed text, verdict text, listeners bigint, name text,
    scope text, policy text, policy_sha256 text, version text, first_gap text
);
TRUNCATE scans;
INSERT INTO scans
SELECT day, host_file,
    count(*) FILTER (WHERE kind = 'host' AND counts ? 'findings'),
    count(*) FILTER (WHERE kind = 'host' AND counts ? 'sockets'),
    count(*) FILTER (WHERE kind = 'verdict'),
    count(*) FILTER (WHERE kind = 'finding'),
    count(*) FILTER (WHERE kind IN ('listener', 'connection', 'raw')),
    max(CASE WHEN jsonb_typeof(counts -> 'findings') = 'number' THEN (counts ->> 'findings')::numeric END)
        FILTER (WHERE kind = 'host'),
    max(CASE WHEN jsonb_typeof(counts -> 'listeners') = 'number' AND jsonb_typeof(counts -> 'connections') = 'number'
            AND jsonb_typeof(counts -> 'raw') = 'number'
        THEN (counts ->> 'listeners')::numeric + (counts ->> 'connections')::numeric + (counts ->> 'raw')::numeric END)
        FILTER (WHERE kind = 'host'),
    max(schema) FILTER (WHERE schema <> 'portolan/2'),
    count(DISTINCT host_id) FILTER (WHERE kind IN ('host', 'verdict')),
    max(host_id) FILTER (WHERE kind IN ('host', 'verdict')),
    min(taken) FILTER (WHERE kind IN ('host', 'verdict')),
    max(taken) FILTER (WHERE kind IN ('host', 'verdict')),
    bool_and(complete), max(narrowed), max(verdict), max(listeners), max(lines.host ->> 'name'),
    max(lines.host ->> 'scope') FILTER (WHERE kind = 'host'), max(policy ->> 'name'), max(policy ->> 'sha256'),
    max(tool ->> 'version') FILTER (WHERE kind = 'host'),
    max((gaps -> 0 ->> 'what') || ': ' || (gaps -> 0 ->> 'why'))
FROM lines
GROUP BY day, host_file;
COMMIT;
CREATE INDEX IF NOT EXISTS lines_day_host ON lines (day, host_file);
ANALYZE lines;
ANALYZE scans;
