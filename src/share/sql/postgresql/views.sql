-- The hosts of a fleet and the questions about them, as views: psql -f views.sql, once, after load.sql.

SET search_path TO portolan;

-- The day of the questions. For an earlier day: CREATE OR REPLACE VIEW portolan.asked AS SELECT DATE '2026-11-29' AS day;
CREATE OR REPLACE VIEW asked AS SELECT CAST(now() AT TIME ZONE 'UTC' AS DATE) AS day;

-- The reason why a file does not count as the answer of its host for its day; NULL if it counts.
CREATE OR REPLACE VIEW judged_scans AS
SELECT scans.*,
    CASE
        WHEN other_schema IS NOT NULL THEN 'unknown schema ' || other_schema
        WHEN audit_heads <> 1 OR listing_heads <> 1 OR verdicts <> 1
            OR finding_lines IS DISTINCT FROM findings_expected OR listing_lines IS DISTINCT FROM listing_expected
            OR first_taken IS DISTINCT FROM taken THEN 'the file is damaged or was cut short'
        WHEN ids <> 1 OR id IS DISTINCT FROM host THEN 'the file is about another host: ' || coalesce(id, 'no ID')
        WHEN taken < CAST(day AS TIMESTAMP) AT TIME ZONE 'UTC' - INTERVAL '10 minutes'
            OR taken > CAST(day AS TIMESTAMP) AT TIME ZONE 'UTC' + INTERVAL '36 hours'
            THEN 'not of this day: scanned at ' || to_char(taken AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
        WHEN narrowed IS NOT NULL THEN 'the audit was limited to ' || narrowed
        WHEN verdict IS NULL OR verdict NOT IN ('clear', 'findings', 'incomplete') OR complete IS NULL
            THEN 'no verdict that is known here'
    END AS refused
FROM scans;

-- Every host of the inventory on every day: clear, findings, incomplete or not judged, and why.
CREATE OR REPLACE VIEW hosts_by_day AS
SELECT days.day, inventory.host,
    CASE
        WHEN scan.host IS NULL OR scan.refused IS NOT NULL THEN 'not judged'
        WHEN scan.verdict = 'findings' THEN 'findings'
        WHEN scan.verdict = 'clear' AND scan.complete
            AND (scan.scope = 'machine' OR scan.scope = inventory.scope) THEN 'clear'
        ELSE 'incomplete'
    END AS state,
    CASE
        WHEN scan.host IS NULL THEN 'no answer on this day'
        WHEN scan.refused IS NOT NULL THEN scan.refused
        WHEN NOT scan.complete THEN coalesce(scan.first_gap, 'not everything could be seen')
        WHEN scan.scope IS DISTINCT FROM 'machine' AND scan.scope IS DISTINCT FROM inventory.scope
            THEN 'only a part of the machine was visible: ' || coalesce(scan.scope, 'unknown')
    END AS why,
    coalesce(scan.refused IS NULL AND scan.complete AND (scan.scope = 'machine' OR scan.scope = inventory.scope), false)
        AS complete,
    scan.taken, scan.name, scan.scope, scan.listeners, scan.finding_lines AS findings, scan.policy, scan.policy_sha256,
    scan.version
FROM inventory
CROSS JOIN (SELECT day FROM asked UNION SELECT day - 1 FROM asked) AS days
LEFT JOIN judged_scans AS scan ON scan.host = inventory.host AND scan.day = days.day;

CREATE OR REPLACE VIEW hosts AS
SELECT host, state, why, complete, taken, name, scope, listeners, findings, policy, policy_sha256, version
FROM hosts_by_day WHERE day = (SELECT day FROM asked);

-- The listeners of the judged hosts, one row per process.
CREATE OR REPLACE VIEW listeners_by_day AS
SELECT hosts_by_day.day, hosts_by_day.host, protocol, address, port, device, exposure, owner, service, pid, process, exe,
    script, "user", uid, unit, container, package, flags, severity, state AS socket_state
FROM (SELECT day, host, state AS host_state FROM hosts_by_day) AS hosts_by_day
JOIN lines ON lines.host_file = hosts_by_day.host AND lines.day = hosts_by_day.day
WHERE host_state <> 'not judged' AND lines.kind = 'listener';

CREATE OR REPLACE VIEW listeners AS
SELECT host, protocol, address, port, device, exposure, owner, service, pid, process, exe, script, "user", uid, unit, container,
    package, flags, severity, socket_state
FROM listeners_by_day WHERE day = (SELECT day FROM asked);

CREATE OR REPLACE VIEW findings AS
SELECT hosts.host, code, lines.severity, text, protocol, address, port, exposure,
    processes -> 0 ->> 'name' AS process, processes -> 0 ->> 'exe' AS exe,
    rule, remedy
FROM hosts
JOIN lines ON lines.host_file = hosts.host AND lines.day = (SELECT day FROM asked)
WHERE hosts.state <> 'not judged' AND lines.kind = 'finding';

-- 1. Which hosts run this program, or this container, on this port? yes, no, or unknown if not everything was seen there.
-- SELECT * FROM portolan.hosts_running('nginx', 443) WHERE answer <> 'no';
CREATE OR REPLACE FUNCTION hosts_running(program text, on_port integer)
RETURNS TABLE (host text, answer text, state text, why text) LANGUAGE sql STABLE AS $$
SELECT hosts.host,
    CASE WHEN found.host IS NOT NULL THEN 'yes' WHEN hosts.complete THEN 'no' ELSE 'unknown' END AS answer,
    hosts.state, hosts.why
FROM portolan.hosts
LEFT JOIN (
    SELECT DISTINCT listeners.host FROM portolan.listeners
    WHERE (process = program OR container = program) AND port = on_port
) AS found ON found.host = hosts.host
$$;

-- 2. What is new since yesterday? A host that was not seen in full on both days has a row with the answer unknown.
CREATE OR REPLACE VIEW new_listeners AS
WITH known AS (
    SELECT DISTINCT host, protocol, address, port, coalesce(exe, process, '') AS program, coalesce("user", '') AS of_user
    FROM listeners_by_day WHERE day = (SELECT day - 1 FROM asked)
),
compared AS (
    SELECT today.host,
        CASE
            WHEN yesterday.state = 'not judged' THEN 'not judged yesterday: ' || yesterday.why
            WHEN today.state = 'not judged' THEN 'not judged today: ' || today.why
            WHEN NOT yesterday.complete THEN 'incomplete yesterday: ' || yesterday.why
            WHEN NOT today.complete THEN 'incomplete today: ' || today.why
        END AS why,
        yesterday.state <> 'not judged' AS is_comparable
    FROM hosts AS today
    JOIN hosts_by_day AS yesterday ON yesterday.host = today.host AND yesterday.day = (SELECT day - 1 FROM asked)
)
SELECT DISTINCT listeners.host, 'new' AS answer, compared.why, listeners.protocol, listeners.address, listeners.port,
    coalesce(exe, process) AS program, "user"
FROM listeners
JOIN compared ON compared.host = listeners.host AND compared.is_comparable
LEFT JOIN known ON known.host = listeners.host AND known.protocol = listeners.protocol
    AND known.address IS NOT DISTINCT FROM listeners.address AND known.port IS NOT DISTINCT FROM listeners.port
    AND known.program = coalesce(exe, process, '') AND known.of_user = coalesce("user", '')
WHERE known.host IS NULL
UNION ALL
SELECT host, 'unknown', why, NULL, NULL, NULL, NULL, NULL FROM compared WHERE why IS NOT NULL;

-- 3. Which listeners exist on exactly one host? On the hosts that were not seen in full there may be more.
CREATE OR REPLACE VIEW listeners_on_one_host AS
SELECT protocol, port, coalesce(exe, process) AS program, min(host) AS host,
    (SELECT count(*) FROM hosts WHERE NOT complete) AS hosts_not_seen
FROM listeners
GROUP BY protocol, port, coalesce(exe, process)
HAVING count(DISTINCT host) = 1;

-- 4. Which executables are unexpected: by the policy, by their file, or by what they claim to be?
CREATE OR REPLACE VIEW unexpected_executables AS
SELECT coalesce(exe, process) AS program, code, count(DISTINCT host) AS hosts, min(host) AS first_host
FROM findings
WHERE code IN ('unexpected', 'impostor', 'unfamiliar', 'hidden-process', 'masquerading', 'shell-listener', 'ad-hoc', 'dual-use',
    'runs-from-memory', 'writable-executable', 'modified-executable', 'deleted-executable')
GROUP BY coalesce(exe, process), code;

-- 5. What can other machines reach that is dangerous?
CREATE OR REPLACE VIEW reachable_dangers AS
SELECT host, code, severity, protocol, address, port, process, text, remedy
FROM findings
WHERE severity IN ('warning', 'critical') AND exposure NOT IN ('loopback', 'none');

-- 6. Which hosts were not judged, and when were they judged last?
CREATE OR REPLACE VIEW not_judged AS
SELECT host, why, (SELECT max(day) FROM judged_scans AS scan WHERE scan.host = hosts.host AND refused IS NULL) AS last_judged
FROM hosts
WHERE state = 'not judged';
