-- One server, one database a tool: their migrations must not meet.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
CREATE DATABASE optuna;
CREATE DATABASE feast;
