"""Feast definitions of flights: entities, a feature view for each feature SQL, one service.

``flights`` and ``flights_live`` share these definitions: views carry the use case's name, entities do
not. The fields are written out, never inferred from the tables, so that a test, not a model, finds a column that
appears, vanishes or changes its type.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Float32, Int64, String

OWNER = "flights-team"
# the values of a day are used until its end, and one day longer if the next DAG run is late; then they expire
TTL = timedelta(days=2)

ENTITIES = {
    key: Entity(name=key, join_keys=[key], value_type=kind, description=text, owner=OWNER)
    for key, kind, text in (
        ("carrier", ValueType.STRING, "Two-character airline code"),
        ("origin", ValueType.STRING, "Departure airport: EWR, JFK or LGA"),
        ("dest", ValueType.STRING, "Destination airport (FAA code)"),
        ("flight", ValueType.INT64, "Flight number; a carrier's numbers are its own"),
        ("sched_dep_hour", ValueType.INT64, "Local hour of scheduled departure, 0..23"),
    )
}


def _key(name: str) -> Field:
    kind = String if ENTITIES[name].value_type == ValueType.STRING else Int64
    return Field(name=name, dtype=kind, description=ENTITIES[name].description)


def _count(name: str, text: str) -> Field:
    return Field(name=name, dtype=Int64, description=text)


def _value(name: str, text: str) -> Field:
    return Field(name=name, dtype=Float32, description=text)


def _history(prefix: str, of: str) -> list[Field]:
    return [
        field
        for days in (1, 3, 7, 28)
        for field in (
            _count(f"{prefix}_flights_{days}d", f"Flights {of} with outcomes known in the last {days} days"),
            _value(f"{prefix}_disrupted_rate_{days}d", "Share of them over 15 min late, cancelled, diverted"),
            _value(f"{prefix}_cancelled_rate_{days}d", "Share of them that was cancelled"),
            _value(f"{prefix}_arr_delay_mean_{days}d", "Mean arrival delay of those that landed, minutes"),
            _value(f"{prefix}_dep_delay_mean_{days}d", "Mean departure delay of those that left, minutes"),
        )
    ]


# view: (keys, description, fields)
VIEWS: dict[str, tuple[list[str], str, list[Field]]] = {
    "carrier_history": (
        ["carrier"],
        "How each carrier's flights lately went",
        _history("carrier", "of the carrier"),
    ),
    "origin_history": (
        ["origin"],
        "How flights out of each airport lately went",
        _history("origin", "out of the airport"),
    ),
    "dest_history": (
        ["dest"],
        "How flights to each destination lately went",
        _history("dest", "to the destination"),
    ),
    "route_history": (
        ["origin", "dest"],
        "How flights on each route lately went",
        _history("route", "on the route"),
    ),
    "flight_history": (
        ["carrier", "flight"],
        "How each flight number lately went",
        _history("flight", "of that number"),
    ),
    "hour_history": (
        ["origin", "sched_dep_hour"],
        "How flights of the same airport and hour lately went",
        _history("hour", "of that airport and hour"),
    ),
    "late_evening": (
        ["origin"],
        "How the evening before ended at each airport",
        [
            _value("evening_disrupted_rate_from_18", "Disrupted share of flights from 18:00, of those known"),
            _value("evening_dep_delay_mean_from_18", "Mean departure delay from 18:00, minutes"),
            _value("evening_unknown_share_from_18", "Share of flights from 18:00 not known at midnight"),
            _value("evening_disrupted_rate_from_20", "Disrupted share of flights from 20:00, of those known"),
            _value("evening_dep_delay_mean_from_20", "Mean departure delay from 20:00, minutes"),
            _value("evening_unknown_share_from_20", "Share of flights from 20:00 not known at midnight"),
            _value("evening_disrupted_rate_rise", "Disrupted share from 18:00 minus that before 18:00"),
        ],
    ),
    "hour_density": (
        ["origin", "sched_dep_hour"],
        "How full each hour of the day's schedule is",
        [
            _count("hour_scheduled", "Flights scheduled in the hour"),
            _count("hour_scheduled_around", "The same with the hours before and after"),
            _count("hour_scheduled_earlier", "Flights scheduled earlier that day; null in the first hour"),
            _count("origin_scheduled", "Flights scheduled at the airport that day"),
            _value("hour_share_of_origin", "Share of the airport's day in this hour"),
        ],
    ),
    "dest_density": (
        ["dest", "sched_dep_hour"],
        "How many flights leave New York for the same destination",
        [
            _count("dest_hour_scheduled", "Flights to the destination in the hour"),
            _count("dest_scheduled", "Flights to the destination that day"),
        ],
    ),
    "route_density": (
        ["carrier", "origin", "dest"],
        "The day's flights of a route, and the carrier's share",
        [
            _count("route_scheduled", "Flights on the route that day"),
            _count("route_carrier_scheduled", "Those of the carrier"),
            _value("route_carrier_share", "The carrier's share of the route"),
            _count("carrier_origin_scheduled", "The carrier's flights at the airport that day"),
            _value("carrier_origin_share", "The carrier's share of the airport"),
        ],
    ),
    "weather_latest": (
        ["origin"],
        "The newest weather that midnight knows, at most two days old",
        [
            _count("weather_age_minutes", "Age of the observation at the clock, minutes"),
            _value("weather_temp", "Temperature, degrees Fahrenheit"),
            _value("weather_dewp", "Dew point, degrees Fahrenheit"),
            _value("weather_humid", "Relative humidity, percent"),
            _count("weather_wind_dir", "Wind direction, degrees"),
            _value("weather_wind_speed", "Wind speed, miles per hour"),
            _value("weather_wind_gust", "Gust speed, miles per hour; null without gusts"),
            _value("weather_precip", "Precipitation of the hour, inches"),
            _value("weather_pressure", "Sea-level pressure, millibars"),
            _value("weather_visib", "Visibility, miles"),
            _value("weather_pressure_change_3h", "Change of pressure over three hours, millibars"),
            _value("weather_precip_6h", "Precipitation of six hours, inches"),
            _value("weather_visib_min_6h", "Lowest visibility of six hours, miles"),
            _value("weather_wind_gust_max_6h", "Strongest gust of six hours, miles per hour"),
        ],
    ),
    "aircraft_lately": (
        ["carrier", "origin", "dest"],
        "The aircraft that the carrier lately flew on the route",
        [
            _value("aircraft_seats_mean_28d", "Mean seats, over flights whose aircraft is registered"),
            _value("aircraft_age_mean_28d", "Mean age, years, over flights whose build year is known"),
            _value("aircraft_registered_share_28d", "Share of flights whose aircraft is registered"),
        ],
    ),
    "calendar": (
        ["origin"],
        "The day in the week, and its distance from a US federal holiday",
        [
            _count("day_of_week", "0 is Monday"),
            _count("month", "1 to 12"),
            _count("is_weekend", "1 on Saturday and Sunday"),
            _count("is_holiday", "1 on a federal holiday"),
            _count("days_to_holiday", "Days to the next holiday, 7 when that or more"),
            _count("days_since_holiday", "Days since the last holiday, 7 when that or more"),
        ],
    ),
}

# A training set of less than a year lacks some months, and a model cannot learn them: on November and December, log
# loss was 0.562 with the feature `month` and 0.547 without it.
NOT_SERVED = {"calendar": {"month"}}


def definitions(use_case: str, uri: Callable[[str], str]) -> list[Any]:
    """Return the definitions to apply for one use case: entities, views, and the service ``<use_case>_v1``.

    Args:
        use_case: name of the use case; views are named ``<use_case>_<view>``.
        uri: function that returns the address of the Delta table of a view, by the view's own name.
    """
    views = {view: _view(use_case, view, uri(view)) for view in VIEWS}
    served = [
        views[view][[field.name for field in fields if field.name not in NOT_SERVED.get(view, ())]]
        for view, (_, _, fields) in VIEWS.items()
    ]
    service = FeatureService(
        name=f"{use_case}_v1",
        features=served,
        description="What midnight knows of each flight of the day that begins",
        owner=OWNER,
        tags={"use_case": use_case},
    )
    return [*ENTITIES.values(), *views.values(), service]


def _view(use_case: str, view: str, address: str) -> FeatureView:
    keys, text, fields = VIEWS[view]
    name = f"{use_case}_{view}"
    return FeatureView(
        name=name,
        source=FileSource(
            name=name,
            path=address,
            file_format=DeltaFormat(),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
            owner=OWNER,
        ),
        schema=[*(_key(key) for key in keys), *fields],
        entities=[ENTITIES[key] for key in keys],
        ttl=TTL,
        online=True,
        description=text,
        owner=OWNER,
        tags={"use_case": use_case, "view": view},
    )
