-- One server, one database for each tool, so that their schema migrations do not collide.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
CREATE DATABASE optuna;
CREATE DATABASE feast;
