-- What each shop sold on the seven newest days of which anything is known. Sales of a day become known in the partition
-- four days later.
SELECT
    p.ds,
    s.shop,
    p.clock AS event_timestamp,
    p.clock AS created_timestamp,
    sum(CAST(s.sold AS BIGINT)) / count(*) AS sold_mean_7d,
    count(*) AS sold_days_7d
FROM partitions AS p
INNER JOIN sales AS s ON s.ds <= p.ds AND CAST(s.ds AS DATE) > p.day - 7
GROUP BY ALL
