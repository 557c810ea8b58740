"""Commands about messages: edit, delete, reply, react, pin, search, and messages that are not sent."""

from functools import partial

from rich.text import Text

from blazechat.client import Message, Role
from blazechat.terminal import attachment_lines, labels, sanitize, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands, escape_slash
from blazechat.terminal.deletions import quote
from blazechat.terminal.screens.dialogs import Choice
from blazechat.terminal.widgets import completion

MAX_LISTED_MESSAGES = 500


class MessageCommands(ScreenCommands):
    async def edit(self, arguments: str) -> None:
        message = self.target_message(own=True)
        if arguments:
            self._require_editable(message)
            await self.client.messages.edit(message.chat_id, message.id, arguments)
        else:
            self.start_edit(message)

    def start_edit(self, message: Message) -> None:
        """Put a message into the composer to change it. Raises CommandRefused."""
        self._require_editable(message)
        self.view.entry.edit(message)

    async def delete(self, arguments: str) -> None:
        self.ask_to_delete(self.target_message(own=True))

    def ask_to_delete(self, message: Message) -> None:
        """Delete a message if the user confirms it. Raises CommandRefused."""
        if self.view.deletions.is_deleted(message):
            raise CommandRefused("This message is deleted.")
        chat = self.require_chat()
        if message.user_id != self.client.state.my_id and chat.is_role_known and chat.role is Role.MEMBER:
            raise CommandRefused("You can delete your own messages only.")
        delete = partial(self._delete, message)
        self.ask(f"Delete {quote(message)}?", "Delete", delete)

    async def undo(self, arguments: str) -> None:
        self.undo_deletion()

    def undo_deletion(self) -> None:
        """Take back the deletion of the selected message, else the newest one. Raises CommandRefused."""
        selected = self.view.message_list.selected
        done = self.view.deletions.undo(selected if isinstance(selected, Message) else None)
        if done is None:
            raise CommandRefused("There is no deletion to undo.")
        self.view.show_notice(done)
        self.view.message_list.update_pending()

    async def reply(self, arguments: str) -> None:
        message = self.target_message()
        if arguments:
            self.client.enqueue(message.chat_id, arguments, reply_to=message.id)
        else:
            self.view.entry.reply(message)

    async def react(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("react")
        message = self.target_message()
        await self.client.messages.react(message.chat_id, message.id, completion.emoji_of(arguments))

    async def unreact(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("unreact")
        message = self.target_message()
        await self.client.messages.unreact(message.chat_id, message.id, completion.emoji_of(arguments))

    async def pin(self, arguments: str) -> None:
        message = self.target_message()
        change = self.client.messages.unpin if message.pinned_at is not None else self.client.messages.pin
        await change(message.chat_id, message.id)

    async def pins(self, arguments: str) -> None:
        chat = self.require_chat()
        pinned = await self.client.chats.pins(chat.id)
        choices = [_choice(message) for message in pinned]
        self._select(await self.choose(f"Pinned in {labels.of_chat(chat, chat.my_id)}", choices))

    async def find(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("find")
        words = arguments.casefold().split()
        found = [
            _choice(message)
            for message in reversed(self.require_chat().ordered_messages())
            if not self.view.deletions.is_deleted(message)
            and all(word in _searchable_text(message) for word in words)
        ]
        if not found:
            raise CommandRefused("No loaded message matches. Scroll up to load older messages.")
        listed = found[:MAX_LISTED_MESSAGES]
        self._select(await self.choose(f"{len(found)} found", listed, "Enter goes to the message."))

    async def unsent(self, arguments: str) -> None:
        pending = {each.client_id: each for each in self.client.outbox.messages() if not each.is_sent}
        choices = []
        for message in pending.values():
            chat = self.client.state.chats.get(message.chat_id)
            label = labels.of_chat(chat, chat.my_id) if chat else "a chat that you cannot read"
            line = f"{label}: {attachment_lines.summary_line(message)}"
            choices.append(Choice(message.client_id, Text(line, no_wrap=True, overflow="ellipsis")))
        if not choices:
            raise CommandRefused("All your messages are sent.")
        hint = "Enter moves the message to the composer and copies it."
        selected = await self.choose("Not sent", choices, hint)
        if selected is not None:
            message = pending[selected]
            self.view.app.copy_to_clipboard(message.content)
            if self.client.outbox.discard(message):
                self.view.entry.append_text(escape_slash(message.content))
                self.view.show_notice("The message is in the composer and in the clipboard.")

    def _delete(self, message: Message) -> None:
        self.view.deletions.delete(message)
        seconds = self.view.deletions.undo_seconds
        self.view.show_notice(f"{quote(message)} is deleted. Ctrl+Z undoes that for {seconds:.0f} s.")

    def _require_editable(self, message: Message) -> None:
        if message.user_id != self.client.state.my_id:
            raise CommandRefused("You can edit your own messages only.")
        if self.view.deletions.is_deleted(message):
            raise CommandRefused("This message is deleted.")

    def _select(self, message_id: str | None) -> None:
        if message_id is not None and not self.view.message_list.select_message(int(message_id)):
            raise CommandRefused("That message is not loaded. Scroll up to load it.")


def _choice(message: Message) -> Choice:
    time = f"{message.created_at.astimezone():%Y-%m-%d %H:%M}"
    author = sanitize.line(message.user.display_name)
    line = f"{time}  {author}: {attachment_lines.summary_line(message)}"
    return Choice(str(message.id), Text(line, no_wrap=True, overflow="ellipsis"))


def _searchable_text(message: Message) -> str:
    return " ".join([message.content, *(each.name for each in message.attachments)]).casefold()
