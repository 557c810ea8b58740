"""The command that invites a person to the server."""

from blazechat.client import RegistrationPolicy
from blazechat.terminal import invitations
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands


class InviteCommands(ScreenCommands):
    async def invite(self, arguments: str) -> None:
        """Show what the new user types. If registration needs an invitation, create one first."""
        info = await self.client.server.info()
        is_admin = self.client.me is not None and self.client.me.is_admin
        invitation = None
        if info.registration is RegistrationPolicy.INVITATION and is_admin:
            invitation = await self.client.invitations.create()
        elif info.registration is not RegistrationPolicy.OPEN:
            raise CommandRefused(invitations.summary(info, is_admin=is_admin))
        text = invitations.steps(info, invitation)
        self.view.app.copy_to_clipboard(text)
        shown = f"{text}\n\n{invitations.caution(info)}".rstrip()
        self.view.show_response("Give this to the person (copied)", shown)
