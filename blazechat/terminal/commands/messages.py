"""What the commands about messages do."""

from rich.text import Text

from blazechat.client import Message
from blazechat.terminal import attachment_lines, labels, sanitize, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands, escape_slash
from blazechat.terminal.screens.dialogs import Choice
from blazechat.terminal.widgets import completion

MAX_LISTED_MESSAGES = 500


class MessageCommands(ScreenCommands):
    async def edit(self, rest: str) -> None:
        message = self.target_message(own=True)
        if message.user_id != self.client.state.my_id:
            raise CommandRefused("Only its author edits a message.")
        if message.deleted_at is not None:
            raise CommandRefused("This message was deleted.")
        if rest:
            await self.client.messages.edit(message.chat_id, message.id, rest)
        else:
            self.screen.edit(message)

    async def delete(self, rest: str) -> None:
        message = self.target_message(own=True)
        said = sanitize.line(" ".join(attachment_lines.summary(message).split()))[:60]
        if message.deleted_at is None and await self.confirm(f"Delete “{said}”?", "Delete"):
            await self.client.messages.delete(message.chat_id, message.id)

    async def reply(self, rest: str) -> None:
        message = self.target_message()
        if rest:
            self.client.enqueue(message.chat_id, rest, reply_to=message.id)
        else:
            self.screen.reply(message)

    async def react(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage_error("react")
        message = self.target_message()
        await self.client.messages.react(message.chat_id, message.id, completion.emoji_of(rest))

    async def unreact(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage_error("unreact")
        message = self.target_message()
        await self.client.messages.unreact(message.chat_id, message.id, completion.emoji_of(rest))

    async def pin(self, rest: str) -> None:
        message = self.target_message()
        change = self.client.messages.unpin if message.pinned_at is not None else self.client.messages.pin
        await change(message.chat_id, message.id)

    async def pins(self, rest: str) -> None:
        chat = self.require_chat()
        pinned = await self.client.chats.pins(chat.id)
        choices = [_message_choice(message) for message in pinned]
        self._scroll_to(await self.choose(f"Pinned in {labels.of_chat(chat, chat.my_id)}", choices))

    async def find(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage_error("find")
        words = rest.casefold().split()
        found = [
            _message_choice(message)
            for message in reversed(self.require_chat().ordered_messages())
            if all(word in _searchable_text(message) for word in words)
        ]
        if not found:
            raise CommandRefused(
                "Not found among the messages that are loaded; scroll up to load older ones."
            )
        self._scroll_to(await self.choose(f"{len(found)} found", found[:MAX_LISTED_MESSAGES], "Enter goes there."))

    def _scroll_to(self, chosen: str | None) -> None:
        if chosen is not None and not self.screen.message_list.select_message(int(chosen)):
            raise CommandRefused("That message is further up; scroll there to load it.")

    async def unsent(self, rest: str) -> None:
        chats = self.client.state.chats
        drafts = {draft.client_id: draft for draft in self.client.outbox.messages() if not draft.is_sent}
        choices = []
        for draft in drafts.values():
            chat = chats.get(draft.chat_id)
            where = labels.of_chat(chat, chat.my_id) if chat else "a chat that is gone"
            line = f"{where}: {sanitize.line(' '.join(attachment_lines.pending_summary(draft).split()))}"
            choices.append(Choice(draft.client_id, Text(line, no_wrap=True, overflow="ellipsis")))
        if not choices:
            raise CommandRefused("All that you wrote has been sent.")
        chosen = await self.choose("Not sent", choices, "Enter copies it and takes it out.")
        if chosen is not None:
            draft = drafts[chosen]
            self.screen.app.copy_to_clipboard(draft.content)
            if self.client.outbox.discard(draft):
                self.screen.append_text(escape_slash(draft.content))
                self.screen.show_toast("It is in the composer, and copied.")


def _message_choice(message: Message) -> Choice:
    when = f"{message.created_at.astimezone():%Y-%m-%d %H:%M}"
    said = sanitize.line(" ".join(attachment_lines.summary(message).split()))
    line = f"{when}  {sanitize.line(message.user.display_name)}: {said}"
    return Choice(str(message.id), Text(line, no_wrap=True, overflow="ellipsis"))


def _searchable_text(message: Message) -> str:
    return " ".join([message.content, *(each.name for each in message.attachments)]).casefold()
