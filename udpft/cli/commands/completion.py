"""``udpft completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from udpft.cli.help_screen import Command
from udpft.cli.output.console import print_line

_VARIABLE = "_UDPFT_COMPLETE"
"""Set by the shell's function when it asks for words; click derives the name from ours."""


@click.command(
    "completion", cls=Command, short_help="Print what a shell needs to complete commands."
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print a script for SHELL, to be read when it starts.

    \b
    Example: eval "$(udpft completion bash)"     in ~/.bashrc
             eval "$(udpft completion zsh)"      in ~/.zshrc
             udpft completion fish | source      in ~/.config/fish/config.fish
    """
    complete = get_completion_class(shell)
    assert complete is not None
    root = ctx.find_root()
    print_line(complete(root.command, {}, "udpft", _VARIABLE).source())
