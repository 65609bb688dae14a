"""What the report says: results as they were read, tables, statistics, claims, the audit. Nothing is drawn here."""
