-- The hosts of a fleet and the questions about them, as views: clickhouse local --path fleet.db --multiquery <views.sql,
-- once.

-- The day of the questions. For an earlier day: CREATE OR REPLACE VIEW asked AS SELECT toDate('2026-11-29') AS day;
CREATE OR REPLACE VIEW asked AS SELECT toDate(now('UTC')) AS day;

-- The reason why a file does not count as the answer of its host for its day; NULL if it counts.
CREATE OR REPLACE VIEW judged_scans AS
SELECT *,
    multiIf(
        other_schema IS NOT NULL, concat('unknown schema ', other_schema),
        audit_heads <> 1 OR listing_heads <> 1 OR verdicts <> 1 OR finding_lines <> findings_expected
            OR listing_lines <> listing_expected OR first_taken IS NULL OR first_taken <> last_taken,
        'the file is damaged or was cut short',
        ids <> 1 OR ifNull(id, '') <> host, concat('the file is about another host: ', ifNull(id, 'no ID')),
        last_taken < toDateTime64(day, 3, 'UTC') - INTERVAL 10 MINUTE
            OR last_taken > toDateTime64(day, 3, 'UTC') + INTERVAL 36 HOUR,
        concat('not of this day: scanned at ', formatDateTime(last_taken, '%Y-%m-%d %H:%i UTC', 'UTC')),
        filter IS NOT NULL, concat('the audit was limited to ', filter),
        ifNull(last_verdict, '') NOT IN ('clear', 'findings', 'incomplete') OR is_complete IS NULL,
        'no verdict that is known here',
        NULL
    ) AS refused
FROM scans;

-- Every host of the inventory on every day: clear, findings, incomplete or not judged, and why.
CREATE OR REPLACE VIEW hosts_by_day AS
SELECT wanted.day AS day, wanted.host AS host,
    scan.host = wanted.host AND refused IS NULL AS is_judged,
    ifNull(scan.scope, '') IN ('machine', wanted.wanted_scope) AS is_whole,
    multiIf(
        NOT is_judged, 'not judged',
        last_verdict = 'findings', 'findings',
        ifNull(last_verdict = 'clear' AND is_complete AND is_whole, 0), 'clear',
        'incomplete'
    ) AS state,
    multiIf(
        scan.host <> wanted.host, 'no answer on this day',
        refused IS NOT NULL, refused,
        NOT ifNull(is_complete, 0), ifNull(first_gap, 'not everything could be seen'),
        NOT is_whole, concat('only a part of the machine was visible: ', ifNull(scan.scope, 'unknown')),
        NULL
    ) AS why,
    is_judged AND ifNull(is_complete, 0) AND is_whole AS complete,
    last_taken AS taken, name, scan.scope AS scope, listener_count AS listeners, finding_lines AS findings,
    policy_name AS policy, policy_sha256, version
FROM (
    SELECT inventory.host AS host, inventory.scope AS wanted_scope, arrayJoin([asked.day, asked.day - 1]) AS day
    FROM inventory CROSS JOIN asked
) AS wanted
LEFT JOIN judged_scans AS scan ON scan.host = wanted.host AND scan.day = wanted.day;

CREATE OR REPLACE VIEW hosts AS
SELECT * EXCEPT (day, is_judged, is_whole) FROM hosts_by_day WHERE day = (SELECT day FROM asked);

-- The listeners of the judged hosts, one row per process.
CREATE OR REPLACE VIEW listeners_by_day AS
SELECT lines.day AS day, lines.host_file AS host, protocol, address, port, device, exposure, owner, service, pid, process,
    exe, script, user, uid, unit, container, package, flags, severity, lines.state AS socket_state
FROM lines
WHERE kind = 'listener'
    AND (lines.day, lines.host_file) IN (SELECT day, host FROM hosts_by_day WHERE state <> 'not judged');

CREATE OR REPLACE VIEW listeners AS
SELECT * EXCEPT (day) FROM listeners_by_day WHERE day = (SELECT day FROM asked);

CREATE OR REPLACE VIEW findings AS
SELECT lines.host_file AS host, code, severity, text, protocol, address, port, exposure,
    JSONExtract(ifNull(processes, ''), 1, 'name', 'Nullable(String)') AS process,
    JSONExtract(ifNull(processes, ''), 1, 'exe', 'Nullable(String)') AS exe, rule, remedy
FROM lines
WHERE kind = 'finding' AND day = (SELECT day FROM asked)
    AND host_file IN (SELECT host FROM hosts WHERE state <> 'not judged')
SETTINGS prefer_column_name_to_alias = 1;

-- 1. Which hosts run this program, or this container, on this port? yes, no, or unknown if not everything was seen there.
-- SELECT * FROM hosts_running(program = 'nginx', on_port = 443) WHERE answer <> 'no';
CREATE OR REPLACE VIEW hosts_running AS
SELECT host,
    multiIf(
        host IN (
            SELECT host FROM listeners
            WHERE (process = {program:String} OR container = {program:String}) AND port = {on_port:UInt16}
        ), 'yes',
        complete, 'no',
        'unknown'
    ) AS answer,
    state, why
FROM hosts;

-- 2. What is new since yesterday? A host that was not seen in full on both days has a row with the answer unknown.
CREATE OR REPLACE VIEW compared_hosts AS
SELECT today.host AS host, yesterday.state <> 'not judged' AS is_comparable,
    multiIf(
        yesterday.state = 'not judged', concat('not judged yesterday: ', yesterday.why),
        today.state = 'not judged', concat('not judged today: ', today.why),
        NOT yesterday.complete, concat('incomplete yesterday: ', yesterday.why),
        NOT today.complete, concat('incomplete today: ', today.why),
        NULL
    ) AS why
FROM hosts AS today
JOIN (SELECT host, state, why, complete FROM hosts_by_day WHERE day = (SELECT day - 1 FROM asked)) AS yesterday
    ON yesterday.host = today.host;

CREATE OR REPLACE VIEW new_listeners AS
SELECT DISTINCT host, 'new' AS answer, compared_hosts.why AS why, protocol, address, port,
    coalesce(exe, process) AS program, user
FROM listeners
JOIN compared_hosts ON compared_hosts.host = listeners.host
WHERE compared_hosts.is_comparable
    AND (host, protocol, ifNull(address, ''), ifNull(port, 0), coalesce(exe, process, ''), ifNull(user, '')) NOT IN (
        SELECT host, protocol, ifNull(address, ''), ifNull(port, 0), coalesce(exe, process, ''), ifNull(user, '')
        FROM listeners_by_day WHERE day = (SELECT day - 1 FROM asked)
    )
UNION ALL
SELECT host, 'unknown', why, NULL, NULL, NULL, NULL, NULL FROM compared_hosts WHERE why IS NOT NULL;

-- 3. Which listeners exist on exactly one host? On the hosts that were not seen in full there may be more.
CREATE OR REPLACE VIEW listeners_on_one_host AS
SELECT protocol, port, coalesce(exe, process) AS program, min(listeners.host) AS host,
    (SELECT countIf(NOT complete) FROM hosts) AS hosts_not_seen
FROM listeners
GROUP BY protocol, port, program
HAVING uniqExact(listeners.host) = 1
SETTINGS prefer_column_name_to_alias = 1;

-- 4. Which executables are unexpected: by the policy, by their file, or by what they claim to be?
CREATE OR REPLACE VIEW unexpected_executables AS
SELECT coalesce(exe, process) AS program, code, uniqExact(host) AS hosts, min(host) AS first_host
FROM findings
WHERE code IN ('unexpected', 'impostor', 'unfamiliar', 'hidden-process', 'masquerading', 'shell-listener', 'ad-hoc', 'dual-use',
    'runs-from-memory', 'writable-executable', 'modified-executable', 'deleted-executable')
GROUP BY program, code;

-- 5. What can other machines reach that is dangerous?
CREATE OR REPLACE VIEW reachable_dangers AS
SELECT host, code, severity, protocol, address, port, process, text, remedy
FROM findings
WHERE severity IN ('warning', 'critical') AND exposure NOT IN ('loopback', 'none');

-- 6. Which hosts were not judged, and when were they judged last?
CREATE OR REPLACE VIEW not_judged AS
SELECT hosts.host AS host, hosts.why AS why, nullIf(last.day, toDate(0)) AS last_judged
FROM hosts
LEFT JOIN (SELECT host, max(day) AS day FROM judged_scans WHERE refused IS NULL GROUP BY host) AS last
    ON last.host = hosts.host
WHERE hosts.state = 'not judged';
