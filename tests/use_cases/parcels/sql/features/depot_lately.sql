-- How the parcels of each depot fared that became known in the four newest weeks, and were due four weeks before them.
SELECT
    p.ds,
    a.depot,
    p.clock AS event_timestamp,
    p.clock AS created_timestamp,
    count(*) FILTER (WHERE a.state = 'late') / count(*) AS late_share_4w,
    count(*) FILTER (WHERE a.state = 'lost') / count(*) AS lost_share_4w
FROM partitions AS p
INNER JOIN arrivals AS a ON p.ds >= a.ds AND a.week >= p.day - 7 * 7
GROUP BY ALL
