"""`rag-policy`: trains, judges and promotes policies."""

from importlib import import_module

import click

from policies.version import VERSION
from training.exits import errors_as_exits, signals_as_exits

# Where each subcommand is, and what it does. `--help` reads this table alone: scikit-learn and
# pyarrow are loaded by the subcommand that needs them.
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "import": ("training.commands.import_outcomes:command", "Store outcomes as a warm start."),
    "replay": ("training.commands.replay:command", "Turn an outcomes table into a bandit log."),
    "export": ("training.commands.export:command", "Export decisions and feedback to Parquet."),
    "train": ("training.commands.train:command", "Train a policy from logs or from outcomes."),
    "evaluate": ("training.commands.evaluate:command", "Say what a policy is worth."),
    "calibrate": ("training.commands.calibrate:command", "Find the weight that keeps a budget."),
    "decide": ("training.commands.decide:command", "Route a file of queries, offline."),
    "retrain": ("training.commands.retrain:command", "Train, judge and promote, on a schedule."),
    "promote": ("training.commands.promote:command", "Judge a policy and make it serve."),
    "rollback": ("training.commands.rollback:command", "Let the previous policy serve again."),
    "list": ("training.commands.list_policies:command", "List the stored policies."),
    "report": ("training.commands.report:command", "Say what a log tells its owner."),
    "simulate": ("training.commands.simulate:command", "Send traffic with known outcomes."),
    "encoder": ("training.encoders.commands:encoder", "Make the encoder of the features."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in SUBCOMMANDS:
            return None
        module, _, attribute = SUBCOMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in SUBCOMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        with signals_as_exits(), errors_as_exits():
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="rag-policy")
def main() -> None:
    """Train, judge and promote policies for adaptive-rag-router.

    \b
    The loop:  rag-policy export --to logs/
               rag-policy train --logs logs/ --to policy/
               rag-policy evaluate --policy policy/ --logs logs/
               rag-policy promote --policy policy/ --logs logs/
    On a schedule:
               rag-policy export --to logs/ --every 60s
               rag-policy retrain --logs logs/ --reports reports/ --every 1d
    """


if __name__ == "__main__":
    main()
