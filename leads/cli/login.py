"""`login`, `logout`, `use` and `profiles`: work with several apps by name."""

import sys
from getpass import getpass
from typing import Annotated
from urllib.parse import urlsplit

import typer

from leads.cli import hints
from leads.cli.completion import profile_names
from leads.cli.output import print_line, print_table
from leads.cli.profiles import NAME, KeyInAzure, Profile, file_of_profiles, read_profiles, write_profiles
from leads.cli.shapes import ListShape, Shape, print_list
from leads.cli.transport import HttpTransport, read_address
from leads.operations.operation import Nothing
from leads.operations.problems import Invalid
from leads.operations.table import whoami

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The profile's name, such as prod.", autocompletion=profile_names)
]


def login(
    name: Name,
    url: Annotated[
        str,
        typer.Option(metavar="URL", help="The app's address, as --app takes it. Default: the address in the profile."),
    ] = "",
    az_group: Annotated[
        str,
        typer.Option(
            metavar="GROUP", help="Save no key: ask the Azure CLI for the key each time, in this resource group."
        ),
    ] = "",
    az_name: Annotated[
        str,
        typer.Option(metavar="APP", help="With --az-group: the function app's name, if the address has another name."),
    ] = "",
    az_resource: Annotated[
        str,
        typer.Option(metavar="RESOURCE", help="Ask the Azure CLI for a token each time, such as for api://CLIENT_ID."),
    ] = "",
    environment: Annotated[
        bool, typer.Option("--environment", help="Save no key: take LEADS_APP_KEY and LEADS_APP_TOKEN each time.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Check the sign-in with the app before saving.")
    ] = True,
) -> None:
    """Save an app's address, and the place of its key, under a name.

    Without an option for the key, the command asks for it or reads it from standard input, and saves it in a file that only
    you can read. Commands without --app and LeadsStorage use the first app that you saved; `use` chooses another.

    \b
    python -m leads login prod --url https://NAME.azurewebsites.net
    python -m leads login prod --url https://NAME.azurewebsites.net --az-group GROUP
    python -m leads --app prod status
    """
    if not NAME.fullmatch(name):
        raise Invalid("NAME: may have up to 64 letters, digits, - and _, such as prod")
    if environment and (az_group or az_resource):
        raise Invalid("--environment: can't be used with --az-group or --az-resource; leave out one of them")
    if az_name and not az_group:
        raise Invalid("--az-group: is missing; name the resource group of the app")
    profiles = read_profiles()
    address = url or (profiles.named(name).url if name in profiles.apps else "")
    if not address:
        raise Invalid("--url: is missing; give the app's address, such as https://NAME.azurewebsites.net")
    base, _ = read_address(address)
    in_azure = (
        KeyInAzure(group=az_group, app=az_name or (urlsplit(base).hostname or "").split(".")[0]) if az_group else None
    )
    kept = "" if environment or az_group or az_resource else _key()
    profile = Profile(url=address.strip(), key=kept, key_in_azure=in_azure, token_resource=az_resource)
    if check:
        found = HttpTransport(profile).ask(whoami, Nothing())
        print_line(f"{base} accepts the sign-in: level {found.level}")
    profiles.apps[name] = profile
    profiles.current = profiles.current or name
    write_profiles(profiles)
    print_line(f"{name}: saved in {file_of_profiles()} ({profile.source})")
    if profiles.current != name:
        print_line(f"To use this app from now on: {hints.command('use', name)}")


def logout(name: Name) -> None:
    """Remove an app's profile and its key."""
    profiles = read_profiles()
    profiles.named(name)
    del profiles.apps[name]
    profiles.current = "" if profiles.current == name else profiles.current
    write_profiles(profiles)
    print_line(f"{name}: removed")


def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The profile's name.", autocompletion=profile_names)] = "",
    none: Annotated[bool, typer.Option("--none", help="Use no profile, unless --app names one.")] = False,
) -> None:
    """Choose the app for commands without --app and LeadsStorage."""
    if bool(name) == none:
        raise Invalid("NAME: name a profile, or give --none")
    profiles = read_profiles()
    if name:
        profiles.named(name)
    profiles.current = name
    write_profiles(profiles)
    print_line(f"{name}: used from now on" if name else "No profile is used from now on, unless --app names one.")


def profiles(shape: ListShape = Shape.TABLE) -> None:
    """List the known apps and where the key of each comes from. Keys are not shown."""
    found = read_profiles()
    rows = [
        {"name": name, "url": profile.url, "source": profile.source, "current": name == found.current}
        for name, profile in sorted(found.apps.items())
    ]
    if print_list(shape, ("name", "url", "source", "current"), rows, rows):
        return
    if not rows:
        print_line(f"There is no profile. To save one: {hints.command('login', 'NAME', '--url', 'URL')}")
        return
    cells = [
        (name, each.url, each.source, "*" if name == found.current else "") for name, each in sorted(found.apps.items())
    ]
    print_table(("profile", "address", "key", "used"), cells, "key")


def _key() -> str:
    """The key to save, typed unseen or from the first line of standard input. Raises `Invalid`."""
    text = getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not text.strip():
        raise Invalid("key: is empty; type the key at the terminal, or give it on standard input")
    return text.strip()
