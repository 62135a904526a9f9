"""Job files to start from: `edged init` copies one. Each trains as it stands, and says what to change."""
