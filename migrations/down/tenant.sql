-- Without CASCADE: what somebody else keeps in this schema, or hangs on its tables, stops the downgrade.

DROP TABLE IF EXISTS {{schema}}.scenarios, {{schema}}.variance_analysis, {{schema}}.forecast_data_points,
    {{schema}}.budget_lines, {{schema}}.forecasts, {{schema}}.budgets;

DROP SCHEMA IF EXISTS {{schema}};
