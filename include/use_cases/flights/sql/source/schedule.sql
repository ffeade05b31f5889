-- The flights scheduled for each local day, as published before midnight.
-- No tail number: the airline assigns aircraft later, and only cancelled flights lack one.
-- No row order: the upstream file is sorted by actual departure.
SELECT
    make_date(f.year, f.month, f.day) AS flight_date,
    f.carrier,
    f.flight,
    f.origin,
    f.dest,
    f.sched_dep_time,
    f.sched_arr_time,
    f.hour AS sched_dep_hour,
    f.hour * 60 + f.minute AS sched_dep_minute_of_day,
    f.time_hour + to_minutes(f.minute) AS scheduled_departure,
    f.distance,
    make_date(f.year, f.month, f.day) AS known_day
FROM flights AS f
ORDER BY known_day, f.carrier, f.flight, f.origin
