-- Loads the answers of a fleet into ClickHouse: clickhouse local --path fleet.db --multiquery <load.sql, in the directory
-- that contains fleet/. A ClickHouse server reads files below its user_files directory only: put fleet/ there.
-- Run it after each collection; it replaces what it loaded before. The page fleet.md explains the files.

CREATE OR REPLACE TABLE inventory ENGINE = MergeTree ORDER BY host AS
SELECT assumeNotNull(host) AS host, if(min(ifNull(scope, '') = 'container') = 1, 'container', 'machine') AS scope
FROM file('fleet/inventory.csv', 'CSVWithNames', 'host Nullable(String), scope Nullable(String)')
WHERE host IS NOT NULL AND host <> ''
GROUP BY host;

-- Every column is declared: otherwise a column whose first values are all null would get a wrong type. A line that
-- cannot be read has no kind and is left out; the counts of the first lines then show that the file is damaged.
CREATE OR REPLACE TABLE lines ENGINE = MergeTree ORDER BY (day, host_file) AS
SELECT assumeNotNull(toDateOrNull(extract(CAST(_path, 'String'), '([^/]*)/[^/]*$'))) AS day,
    extract(CAST(_path, 'String'), '([^/]*)\\.ndjson$') AS host_file,
    -- columns: made from the JSON Schema by tests/fleet.rs
    nullIf(JSONExtractRaw(line, 'accepted'), '') AS accepted,
    JSONExtract(line, 'address', 'Nullable(String)') AS address,
    JSONExtract(line, 'code', 'Nullable(String)') AS code,
    JSONExtract(line, 'complete', 'Nullable(Bool)') AS complete,
    JSONExtract(line, 'container', 'Nullable(String)') AS container,
    nullIf(JSONExtractRaw(line, 'counts'), '') AS counts,
    JSONExtract(line, 'device', 'Nullable(String)') AS device,
    nullIf(JSONExtractRaw(line, 'evidence'), '') AS evidence,
    JSONExtract(line, 'exe', 'Nullable(String)') AS exe,
    JSONExtract(line, 'exposure', 'Nullable(String)') AS exposure,
    JSONExtract(line, 'fail_on', 'Nullable(String)') AS fail_on,
    JSONExtract(line, 'findings', 'Nullable(Int64)') AS findings,
    JSONExtract(line, 'flags', 'Nullable(String)') AS flags,
    nullIf(JSONExtractRaw(line, 'gaps'), '') AS gaps,
    nullIf(JSONExtractRaw(line, 'host'), '') AS host,
    JSONExtract(line, 'host_id', 'Nullable(String)') AS host_id,
    JSONExtract(line, 'identity', 'Nullable(String)') AS identity,
    JSONExtract(line, 'kind', 'Nullable(String)') AS kind,
    JSONExtract(line, 'listeners', 'Nullable(Int64)') AS listeners,
    nullIf(JSONExtractRaw(line, 'namespaces'), '') AS namespaces,
    JSONExtract(line, 'narrowed', 'Nullable(String)') AS narrowed,
    nullIf(JSONExtractRaw(line, 'netns'), '') AS netns,
    nullIf(JSONExtractRaw(line, 'notes'), '') AS notes,
    JSONExtract(line, 'owner', 'Nullable(String)') AS owner,
    JSONExtract(line, 'package', 'Nullable(String)') AS package,
    JSONExtract(line, 'peer', 'Nullable(String)') AS peer,
    JSONExtract(line, 'pid', 'Nullable(Int64)') AS pid,
    nullIf(JSONExtractRaw(line, 'policy'), '') AS policy,
    JSONExtract(line, 'port', 'Nullable(Int64)') AS port,
    JSONExtract(line, 'process', 'Nullable(String)') AS process,
    nullIf(JSONExtractRaw(line, 'processes'), '') AS processes,
    JSONExtract(line, 'protocol', 'Nullable(String)') AS protocol,
    JSONExtract(line, 'receives', 'Nullable(String)') AS receives,
    nullIf(JSONExtractRaw(line, 'registry'), '') AS registry,
    JSONExtract(line, 'remedy', 'Nullable(String)') AS remedy,
    JSONExtract(line, 'rule', 'Nullable(String)') AS rule,
    JSONExtract(line, 'schema', 'Nullable(String)') AS schema,
    JSONExtract(line, 'script', 'Nullable(String)') AS script,
    JSONExtract(line, 'service', 'Nullable(String)') AS service,
    JSONExtract(line, 'service_by', 'Nullable(String)') AS service_by,
    JSONExtract(line, 'severity', 'Nullable(String)') AS severity,
    JSONExtract(line, 'state', 'Nullable(String)') AS state,
    JSONExtract(line, 'status', 'Nullable(String)') AS status,
    parseDateTime64BestEffortOrNull(JSONExtractString(line, 'taken'), 3, 'UTC') AS taken,
    JSONExtract(line, 'text', 'Nullable(String)') AS text,
    nullIf(JSONExtractRaw(line, 'tool'), '') AS tool,
    JSONExtract(line, 'uid', 'Nullable(Int64)') AS uid,
    JSONExtract(line, 'unit', 'Nullable(String)') AS unit,
    JSONExtract(line, 'user', 'Nullable(String)') AS user,
    JSONExtract(line, 'verdict', 'Nullable(String)') AS verdict,
    JSONExtract(line, 'why', 'Nullable(String)') AS why
    -- end of columns
FROM file('fleet/*/*.ndjson', 'LineAsString', 'line String')
WHERE toDateOrNull(extract(CAST(_path, 'String'), '([^/]*)/[^/]*$')) IS NOT NULL AND isValidJSON(line)
    AND JSONExtract(line, 'kind', 'Nullable(String)') IS NOT NULL;

-- One row per file.
CREATE OR REPLACE TABLE scans ENGINE = MergeTree ORDER BY (day, host) AS
SELECT day, host_file AS host,
    countIf(kind = 'host' AND JSONHas(counts, 'findings')) AS audit_heads,
    countIf(kind = 'host' AND JSONHas(counts, 'sockets')) AS listing_heads,
    countIf(kind = 'verdict') AS verdicts,
    countIf(kind = 'finding') AS finding_lines,
    countIf(kind IN ('listener', 'connection', 'raw')) AS listing_lines,
    maxIf(JSONExtractUInt(counts, 'findings'), kind = 'host') AS findings_expected,
    maxIf(JSONExtractUInt(counts, 'listeners') + JSONExtractUInt(counts, 'connections') + JSONExtractUInt(counts, 'raw'),
        kind = 'host' AND JSONHas(counts, 'sockets')) AS listing_expected,
    maxIf(schema, schema <> 'portolan/2') AS other_schema,
    uniqExactIf(host_id, kind IN ('host', 'verdict')) AS ids,
    maxIf(host_id, kind IN ('host', 'verdict')) AS id,
    minIf(taken, kind IN ('host', 'verdict')) AS first_taken,
    maxIf(taken, kind IN ('host', 'verdict')) AS last_taken,
    min(complete) AS is_complete,
    max(narrowed) AS filter,
    max(verdict) AS last_verdict,
    max(listeners) AS listener_count,
    max(JSONExtract(ifNull(lines.host, ''), 'name', 'Nullable(String)')) AS name,
    maxIf(JSONExtract(ifNull(lines.host, ''), 'scope', 'Nullable(String)'), kind = 'host') AS scope,
    max(JSONExtract(ifNull(policy, ''), 'name', 'Nullable(String)')) AS policy_name,
    max(JSONExtract(ifNull(policy, ''), 'sha256', 'Nullable(String)')) AS policy_sha256,
    maxIf(JSONExtract(ifNull(tool, ''), 'version', 'Nullable(String)'), kind = 'host') AS version,
    max(JSONExtract(ifNull(gaps, ''), 1, 'what', 'Nullable(String)') || ': '
        || JSONExtract(ifNull(gaps, ''), 1, 'why', 'Nullable(String)')) AS first_gap
FROM lines
GROUP BY day, host_file
SETTINGS prefer_column_name_to_alias = 1;
