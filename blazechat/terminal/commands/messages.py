"""Commands about messages: edit, delete, reply, react, pin, search, and messages that are not sent."""

from functools import partial

from rich.text import Text

from blazechat.client import Message, Role
from blazechat.terminal import attachment_lines, emoji_names, labels, sanitize, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands, escape_slash
from blazechat.terminal.deletions import quote
from blazechat.terminal.screens.dialogs import Choice
from blazechat.terminal.screens.reaction_picker import ReactionPicker

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
        message = self.target_message()
        if arguments:
            await self._react(message, emoji_names.emoji_of(arguments))
        else:
            self.pick_reaction(message)

    def pick_reaction(self, message: Message) -> None:
        """Let the user pick an emoji; add it to a message as a reaction, or remove it if it is theirs."""
        my_id = self.client.state.my_id
        mine = [each.emoji for each in message.reactions if my_id in each.user_ids]

        def on_closed(emoji: str | None) -> None:
            if emoji is not None:
                change = self._unreact if ReactionPicker.is_among(emoji, mine) else self._react
                self.view.start_command(partial(change, message, emoji))

        self.view.app.push_screen(ReactionPicker(self.view.app_actions.usage.used(), mine), on_closed)

    async def unreact(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("unreact")
        message = self.target_message()
        await self._unreact(message, emoji_names.emoji_of(arguments))

    async def pin(self, arguments: str) -> None:
        message = self.target_message()
        change = self.client.messages.unpin if message.pinned_at is not None else self.client.messages.pin
        await change(message.chat_id, message.id)

    async def pins(self, arguments: str) -> None:
        chat = self.require_chat()
        pinned = await self.client.chats.pins(chat.id)
        choices = [_choice(message) for message in pinned if not self.view.deletions.is_deleted(message)]
        if not choices:
            raise CommandRefused("No message is pinned in this chat. p pins the selected message.")
        title = f"Pinned in {labels.of_chat(chat, chat.my_id)}"
        await self._go_to(await self.choose(title, choices, "Enter goes to the message."))

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
        await self._go_to(await self.choose(f"{len(found)} found", listed, "Enter goes to the message."))

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
        self.view.show_notice(f"Deleted. Ctrl+Z undoes that for {seconds:.0f} s: {quote(message)}")

    def _require_editable(self, message: Message) -> None:
        if message.user_id != self.client.state.my_id:
            raise CommandRefused("You can edit your own messages only.")
        if self.view.deletions.is_deleted(message):
            raise CommandRefused("This message is deleted.")

    async def go_to(self, message_id: int) -> None:
        """Select a message of the open chat and focus the messages. Raises CommandRefused."""
        chat = self.require_chat()
        if await self.view.go_to_message(message_id):
            self.view.set_focus(self.view.message_list)
        elif self.view.chat is chat:
            raise CommandRefused("You cannot read that message.")

    async def _go_to(self, message_id: str | None) -> None:
        if message_id is not None:
            await self.go_to(int(message_id))

    async def _react(self, message: Message, emoji: str) -> None:
        await self.client.messages.react(message.chat_id, message.id, emoji)
        self.view.app_actions.usage.add(emoji)

    async def _unreact(self, message: Message, emoji: str) -> None:
        await self.client.messages.unreact(message.chat_id, message.id, emoji)


def _choice(message: Message) -> Choice:
    time = f"{message.created_at.astimezone():%Y-%m-%d %H:%M}"
    author = sanitize.line(message.user.display_name)
    line = f"{time}  {author}: {attachment_lines.summary_line(message)}"
    return Choice(str(message.id), Text(line, no_wrap=True, overflow="ellipsis"))


def _searchable_text(message: Message) -> str:
    return " ".join([message.content, *(each.name for each in message.attachments)]).casefold()
