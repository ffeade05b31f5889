-- How flights scheduled in the same hour out of the same airport lately went. See _recent_outcomes.sql for the windows.
SELECT
    ds,
    origin,
    sched_dep_hour,
    clock AS event_timestamp,
    clock AS created_timestamp,
    flights_1d AS hour_flights_1d,
    disrupted_rate_1d AS hour_disrupted_rate_1d,
    cancelled_rate_1d AS hour_cancelled_rate_1d,
    arr_delay_mean_1d AS hour_arr_delay_mean_1d,
    dep_delay_mean_1d AS hour_dep_delay_mean_1d,
    flights_3d AS hour_flights_3d,
    disrupted_rate_3d AS hour_disrupted_rate_3d,
    cancelled_rate_3d AS hour_cancelled_rate_3d,
    arr_delay_mean_3d AS hour_arr_delay_mean_3d,
    dep_delay_mean_3d AS hour_dep_delay_mean_3d,
    flights_7d AS hour_flights_7d,
    disrupted_rate_7d AS hour_disrupted_rate_7d,
    cancelled_rate_7d AS hour_cancelled_rate_7d,
    arr_delay_mean_7d AS hour_arr_delay_mean_7d,
    dep_delay_mean_7d AS hour_dep_delay_mean_7d,
    flights_28d AS hour_flights_28d,
    disrupted_rate_28d AS hour_disrupted_rate_28d,
    cancelled_rate_28d AS hour_cancelled_rate_28d,
    arr_delay_mean_28d AS hour_arr_delay_mean_28d,
    dep_delay_mean_28d AS hour_dep_delay_mean_28d
FROM _recent_outcomes
WHERE grain = 'hour'
