"""The command that brings the database to the schema of this version."""

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.options import AsJson, EnvFile
from neuronetz_gateway.cli.progress import waiting
from neuronetz_gateway.db.migrating import head, migrate
from neuronetz_gateway.settings import load_settings


def migrate_database(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """Bring the database to the schema of this version; several at once wait for each other."""
    settings = load_settings(env_file)
    with waiting("Migrating"):
        migrate(settings.database_url.get_secret_value())
    if as_json:
        output.document({"revision": head()})
    else:
        output.line(f"The database is at revision {head()}.")
