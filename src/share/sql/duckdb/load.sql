-- Loads the answers of a fleet into DuckDB: duckdb fleet.db <load.sql, in the directory that contains fleet/.
-- Run it after each collection; it replaces what it loaded before. The page fleet.md explains the files.

CREATE OR REPLACE TABLE inventory AS
SELECT host, CASE WHEN bool_and(coalesce(scope, '') = 'container') THEN 'container' ELSE 'machine' END AS scope
FROM read_csv('fleet/inventory.csv', header = true, delim = ',', quote = '"', escape = '"',
    columns = {'host': 'VARCHAR', 'scope': 'VARCHAR'})
WHERE host IS NOT NULL
GROUP BY host;

-- Every column is declared: otherwise a column whose first values are all null would get a wrong type. A line that
-- cannot be read, or a file that is not UTF-8, is missing here; the counts of the first lines then show that the file
-- is damaged.
CREATE OR REPLACE TEMP TABLE texts AS
WITH files AS (SELECT filename, TRY(decode(content)) AS content FROM read_blob('fleet/*/*.ndjson'))
SELECT filename, unnest(string_split(content, chr(10))) AS line FROM files;

CREATE OR REPLACE TABLE lines AS
SELECT TRY_CAST(regexp_extract(filename, '([^/]*)/[^/]*$', 1) AS DATE) AS day,
    regexp_extract(filename, '([^/]*)\.ndjson$', 1) AS host_file,
    unnest(json_transform(line, to_json({
    -- columns: made from the JSON Schema by tests/fleet.rs
    'accepted': 'JSON',
    'address': 'VARCHAR',
    'code': 'VARCHAR',
    'complete': 'BOOLEAN',
    'container': 'VARCHAR',
    'counts': 'JSON',
    'device': 'VARCHAR',
    'evidence': 'JSON',
    'exe': 'VARCHAR',
    'exposure': 'VARCHAR',
    'fail_on': 'VARCHAR',
    'findings': 'BIGINT',
    'flags': 'VARCHAR',
    'gaps': 'JSON',
    'host': 'JSON',
    'host_id': 'VARCHAR',
    'identity': 'VARCHAR',
    'kind': 'VARCHAR',
    'listeners': 'BIGINT',
    'namespaces': 'JSON',
    'narrowed': 'VARCHAR',
    'netns': 'JSON',
    'notes': 'JSON',
    'owner': 'VARCHAR',
    'package': 'VARCHAR',
    'peer': 'VARCHAR',
    'pid': 'BIGINT',
    'policy': 'JSON',
    'port': 'BIGINT',
    'process': 'VARCHAR',
    'processes': 'JSON',
    'protocol': 'VARCHAR',
    'receives': 'VARCHAR',
    'registry': 'JSON',
    'remedy': 'VARCHAR',
    'rule': 'VARCHAR',
    'schema': 'VARCHAR',
    'script': 'VARCHAR',
    'service': 'VARCHAR',
    'service_by': 'VARCHAR',
    'severity': 'VARCHAR',
    'state': 'VARCHAR',
    'status': 'VARCHAR',
    'taken': 'TIMESTAMPTZ',
    'text': 'VARCHAR',
    'tool': 'JSON',
    'uid': 'BIGINT',
    'unit': 'VARCHAR',
    'user': 'VARCHAR',
    'verdict': 'VARCHAR',
    'why': 'VARCHAR'
    -- end of columns
    })))
FROM texts
WHERE json_valid(line);

DROP TABLE texts;
DELETE FROM lines WHERE day IS NULL OR kind IS NULL;

-- One row per file.
CREATE OR REPLACE TABLE scans AS
SELECT day, host_file AS host,
    count(*) FILTER (kind = 'host' AND json_extract(counts, '$.findings') IS NOT NULL) AS audit_heads,
    count(*) FILTER (kind = 'host' AND json_extract(counts, '$.sockets') IS NOT NULL) AS listing_heads,
    count(*) FILTER (kind = 'verdict') AS verdicts,
    count(*) FILTER (kind = 'finding') AS finding_lines,
    count(*) FILTER (kind IN ('listener', 'connection', 'raw')) AS listing_lines,
    max(CAST(json_extract(counts, '$.findings') AS BIGINT)) FILTER (kind = 'host') AS findings_expected,
    max(CAST(json_extract(counts, '$.listeners') AS BIGINT) + CAST(json_extract(counts, '$.connections') AS BIGINT)
        + CAST(json_extract(counts, '$.raw') AS BIGINT)) FILTER (kind = 'host') AS listing_expected,
    max(schema) FILTER (schema <> 'portolan/2') AS other_schema,
    count(DISTINCT host_id) FILTER (kind IN ('host', 'verdict')) AS ids,
    max(host_id) FILTER (kind IN ('host', 'verdict')) AS id,
    min(taken) FILTER (kind IN ('host', 'verdict')) AS first_taken,
    max(taken) FILTER (kind IN ('host', 'verdict')) AS taken,
    bool_and(complete) AS complete,
    max(narrowed) AS narrowed,
    max(verdict) AS verdict,
    max(listeners) AS listeners,
    max(json_extract_string(host, '$.name')) AS name,
    max(json_extract_string(host, '$.scope')) FILTER (kind = 'host') AS scope,
    max(json_extract_string(policy, '$.name')) AS policy,
    max(json_extract_string(policy, '$.sha256')) AS policy_sha256,
    max(json_extract_string(tool, '$.version')) FILTER (kind = 'host') AS version,
    max(json_extract_string(gaps, '$[0].what') || ': ' || json_extract_string(gaps, '$[0].why')) AS first_gap
FROM lines
GROUP BY day, host_file;
