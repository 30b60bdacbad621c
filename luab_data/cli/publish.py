"""`luab-data publish`: a dataset folder -> a dataset repository of the Hugging Face Hub."""

from __future__ import annotations

import click


@click.command()
@click.argument("dataset", type=str)
@click.option("--repo-id", required=True, metavar="OWNER/NAME", help="Where it goes on the Hub.")
@click.option("--private", is_flag=True, help="Make the repository private.")
@click.option("--dry-run", is_flag=True, help="Only list what would go; no network, no login.")
def publish(dataset: str, repo_id: str, private: bool, dry_run: bool) -> None:
    """Upload DATASET, a folder or a name under $LUAB_DATA_HOME, with card and Croissant file.

    Refused unless the folder is whole and its worker ids are hashed with a key.
    """
    from luab_data.hub.upload import publish as upload

    done = upload(dataset, repo_id, private=private, dry_run=dry_run)
    total = sum(item.size for item in done.items)
    size = f"{len(done.items)} files, {total:,} bytes"
    if done.sent:
        click.echo(f"{done.url}: version {done.version}, {size}")
        return
    for item in done.items:
        click.echo(f"{item.sha256}  {item.size:>15,}  {item.path}")
    kind = "private" if done.private else "public"
    click.echo(f"{size} would go to {done.url} ({kind}), version {done.version}")
    click.echo(f"and replace there whatever else is in {', '.join(done.replaced)}")
