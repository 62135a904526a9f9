"""The shell: asyncio lives here. Roles carry out what the core decides."""
