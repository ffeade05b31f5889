-- The flights to predict: what the schedule says of each at its day's clock. One row a flight.
SELECT
    p.ds,
    s.flight_date,
    s.carrier,
    s.flight,
    s.origin,
    s.dest,
    s.sched_dep_hour,
    s.sched_dep_minute_of_day,
    (s.sched_arr_time // 100) * 60 + s.sched_arr_time % 100 AS sched_arr_minute_of_day,
    s.distance,
    p.clock AS event_timestamp
FROM schedule AS s
INNER JOIN partitions AS p ON s.ds = p.ds
