-- How often each sensor that has an alarm now had one in the last day.
SELECT
    p.ds,
    now.sensor,
    p.clock AS event_timestamp,
    p.clock AS created_timestamp,
    count(*) AS alarms_24h,
    sum(a.level) / count(*) AS level_mean_24h
FROM partitions AS p
INNER JOIN (SELECT DISTINCT ds, sensor FROM alarms) AS now ON now.ds = p.ds
INNER JOIN alarms AS a ON a.sensor = now.sensor AND a.ds <= p.ds AND a.raised_at >= p.clock - INTERVAL 24 HOUR
GROUP BY ALL
