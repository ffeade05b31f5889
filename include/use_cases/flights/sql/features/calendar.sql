-- The day itself: its place in the week, and how near a US federal holiday is. Holidays are computed by
-- their rule for any year, on the day they are celebrated and not on the day offices close instead.
-- Keyed by airport, because a feature store serves values of something.
WITH asked AS (
    SELECT DISTINCT p.ds, p.day, p.clock, s.origin
    FROM schedule AS s
    INNER JOIN partitions AS p ON s.ds = p.ds
),

-- the neighbours too: the nearest holiday of a New Year's Eve lies in the next year
years AS (
    SELECT DISTINCT year(day) + step AS y
    FROM asked
    CROSS JOIN (VALUES (-1), (0), (1)) AS steps (step)
),

-- weekday 0 is Monday; nth 1 is the first such weekday on or after the date
rules AS (
    SELECT *
    FROM (
        VALUES
        ('New Year''s Day', 1, 1, CAST(NULL AS INTEGER), 1),
        ('Martin Luther King Day', 1, 1, 0, 3),
        ('Washington''s Birthday', 2, 1, 0, 3),
        ('Memorial Day', 5, 25, 0, 1),
        ('Juneteenth', 6, 19, NULL, 1),
        ('Independence Day', 7, 4, NULL, 1),
        ('Labor Day', 9, 1, 0, 1),
        ('Columbus Day', 10, 1, 0, 2),
        ('Veterans Day', 11, 11, NULL, 1),
        ('Thanksgiving', 11, 1, 3, 4),
        ('Christmas Day', 12, 25, NULL, 1)
    ) AS rules (holiday, month, from_day, weekday, nth)
),

dated AS (
    SELECT
        r.*,
        y.y,
        make_date(y.y, r.month, r.from_day) AS from_date,
        -- 2001-01-01 was a Monday; counted rather than asked for, since engines number weekdays differently
        CAST(
            date_diff('day', DATE '2001-01-01', make_date(y.y, r.month, r.from_day)) % 7 AS INTEGER
        ) AS from_weekday
    FROM rules AS r
    CROSS JOIN years AS y
),

holidays AS (
    SELECT
        CASE
            WHEN weekday IS NULL THEN from_date
            ELSE from_date + (CAST((weekday - from_weekday + 7) % 7 AS INTEGER) + (nth - 1) * 7)
        END AS day
    FROM dated
    WHERE holiday <> 'Juneteenth' OR y >= 2021
),

nearest AS (
    SELECT
        a.day,
        min(date_diff('day', a.day, h.day)) FILTER (WHERE h.day >= a.day) AS days_to,
        min(date_diff('day', h.day, a.day)) FILTER (WHERE h.day <= a.day) AS days_since
    FROM (SELECT DISTINCT day FROM asked) AS a
    CROSS JOIN holidays AS h
    GROUP BY a.day
)

SELECT
    a.ds,
    a.origin,
    a.clock AS event_timestamp,
    a.clock AS created_timestamp,
    date_diff('day', DATE '2001-01-01', a.day) % 7 AS day_of_week,
    CAST(month(a.day) AS BIGINT) AS month,
    CAST(CASE WHEN date_diff('day', DATE '2001-01-01', a.day) % 7 >= 5 THEN 1 ELSE 0 END AS BIGINT)
        AS is_weekend,
    CAST(CASE WHEN n.days_to = 0 THEN 1 ELSE 0 END AS BIGINT) AS is_holiday,
    -- a week away, a holiday no longer moves traffic
    least(n.days_to, 7) AS days_to_holiday,
    least(n.days_since, 7) AS days_since_holiday
FROM asked AS a
INNER JOIN nearest AS n ON a.day = n.day
