"""The fake Ollama speaks to the official SDKs as the real one does."""

import anthropic
import ollama as ollama_sdk
import openai
import pytest

from tests.support.fake_ollama import Ended, FakeOllama, Fault, Kind, Script
from tests.support.no_tls import NO_TLS

MESSAGES = [{"role": "user", "content": "three small words"}]
PROMPT_TOKENS = 3 + 4


def native(fake: FakeOllama) -> ollama_sdk.AsyncClient:
    return ollama_sdk.AsyncClient(host=fake.base_url, verify=NO_TLS)


def openai_sdk(fake: FakeOllama) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=fake.base_url + "/v1",
        api_key="none",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
    )


def anthropic_sdk(fake: FakeOllama) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=fake.base_url,
        api_key="none",
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(verify=NO_TLS),
    )


async def test_a_native_chat_is_counted_alike_streamed_and_whole() -> None:
    async with FakeOllama() as fake, native(fake) as sdk:
        parts = [part async for part in await sdk.chat("fakea", MESSAGES, stream=True)]
        whole = await sdk.chat("fakea", MESSAGES)
        assert "".join(part.message.content or "" for part in parts) == whole.message.content
        assert len(parts) == 8 + 1
        for last in (parts[-1], whole):
            assert (last.prompt_eval_count, last.eval_count, last.done_reason) == (PROMPT_TOKENS, 8, "stop")
        await fake.wait_idle()
        streamed, single = fake.hits
        assert (streamed.records_sent, streamed.tokens_generated, streamed.prompt_tokens) == (9, 8, PROMPT_TOKENS)
        assert (single.records_sent, single.ended, streamed.ended) == (1, Ended.COMPLETED, Ended.COMPLETED)


async def test_a_native_completion_obeys_num_predict() -> None:
    async with FakeOllama() as fake, native(fake) as sdk:
        answer = await sdk.generate("FAKEA", "three small words", options={"num_predict": 2})
        assert (answer.eval_count, answer.done_reason, answer.model) == (2, "length", "FAKEA")
        assert answer.context is not None
        assert len(answer.context) == PROMPT_TOKENS + 2
        loaded = await sdk.generate("fakea", "")
        assert (loaded.done_reason, loaded.eval_count) == ("load", None)


async def test_native_embeddings_listings_and_errors() -> None:
    async with FakeOllama() as fake, native(fake) as sdk:
        embedded = await sdk.embed("nomic-embed-text", ["one", "two words"])
        assert (len(embedded.embeddings), embedded.prompt_eval_count) == (2, 3 + 8)
        assert len((await sdk.embeddings("nomic-embed-text", "one")).embedding) == 8
        assert {model.model for model in (await sdk.list()).models} == set(fake.models)
        assert (await sdk.show("fakea")).modelinfo is not None
        assert len((await sdk.ps()).models) == 2
        with pytest.raises(ollama_sdk.ResponseError) as caught:
            await sdk.chat("absent", MESSAGES)
        assert (caught.value.status_code, caught.value.error) == (404, "model 'absent' not found")


async def test_openai_chat_reports_usage_in_a_stream_only_when_asked() -> None:
    async with FakeOllama() as fake, openai_sdk(fake) as sdk:
        create = sdk.chat.completions.create
        whole = await create(model="fakea", messages=[{"role": "user", "content": "three small words"}])
        asked = await create(
            model="fakea",
            messages=[{"role": "user", "content": "three small words"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in asked]
        silent = await create(
            model="fakea", messages=[{"role": "user", "content": "three small words"}], stream=True, max_tokens=3
        )
        others = [chunk async for chunk in silent]
        assert whole.usage is not None
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (PROMPT_TOKENS, 8)
        assert [bool(chunk.choices) for chunk in chunks] == [True] * 9 + [False]
        assert [chunk.usage for chunk in chunks[:-1]] == [None] * 9
        assert chunks[-1].usage == whole.usage
        assert all(chunk.usage is None for chunk in others)
        assert others[-1].choices[0].finish_reason == "length"
        assert [seen.records_sent for seen in fake.hits] == [1, 8 + 3, 3 + 2]


async def test_openai_completions_carry_a_zero_usage_on_every_chunk_when_asked() -> None:
    async with FakeOllama() as fake, openai_sdk(fake) as sdk:
        stream = await sdk.completions.create(
            model="fakea", prompt="three small words", stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        whole = await sdk.completions.create(model="fakea", prompt="three small words")
        totals = [chunk.usage.total_tokens for chunk in chunks if chunk.usage is not None]
        assert totals == [0] * 9 + [PROMPT_TOKENS + 8]
        assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
        assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text


async def test_openai_embeddings_models_and_errors() -> None:
    async with FakeOllama() as fake, openai_sdk(fake) as sdk:
        vectors = await sdk.embeddings.create(model="nomic-embed-text", input=["one", "two"])
        assert (len(vectors.data), vectors.usage.prompt_tokens) == (2, 2 + 8)
        assert len(vectors.data[0].embedding) == 8
        assert {model.id async for model in sdk.models.list()} == set(fake.models)
        assert (await sdk.models.retrieve("fakea")).owned_by == "library"
        with pytest.raises(openai.NotFoundError, match="model 'absent' not found"):
            await sdk.chat.completions.create(model="absent", messages=[{"role": "user", "content": "x"}])
        fake.next(Script(status=503, error="busy"))
        with pytest.raises(openai.InternalServerError, match="busy"):
            await sdk.chat.completions.create(model="fakea", messages=[{"role": "user", "content": "x"}])


async def test_openai_responses_streamed_and_whole() -> None:
    async with FakeOllama() as fake, openai_sdk(fake) as sdk:
        whole = await sdk.responses.create(model="fakea", input="three small words")
        stream = await sdk.responses.create(model="fakea", input="three small words", stream=True)
        events = [event async for event in stream]
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.usage == whole.usage
        assert last.response.output_text == whole.output_text
        assert whole.usage is not None
        assert (whole.usage.input_tokens, whole.usage.output_tokens) == (PROMPT_TOKENS, 8)
        assert [event.sequence_number for event in events] == list(range(8 + 8))


async def test_anthropic_messages_streamed_and_whole() -> None:
    async with FakeOllama() as fake, anthropic_sdk(fake) as sdk:
        whole = await sdk.messages.create(
            model="fakea", max_tokens=5, messages=[{"role": "user", "content": "three small words"}]
        )
        async with sdk.messages.stream(
            model="fakea", max_tokens=5, messages=[{"role": "user", "content": "three small words"}]
        ) as stream:
            kinds = [event.type async for event in stream]
            last = await stream.get_final_message()
        assert (whole.usage.input_tokens, whole.usage.output_tokens) == (PROMPT_TOKENS, 5)
        assert (last.usage.input_tokens, last.usage.output_tokens) == (PROMPT_TOKENS, 5)
        assert last.stop_reason == whole.stop_reason == "max_tokens"
        assert [block.text for block in last.content if block.type == "text"] == [
            block.text for block in whole.content if block.type == "text"
        ]
        assert kinds[0] == "message_start"
        assert kinds[-1] == "message_stop"
        assert fake.hits[1].records_sent == 5 + 5
        with pytest.raises(anthropic.NotFoundError):
            await sdk.messages.create(model="absent", max_tokens=5, messages=[{"role": "user", "content": "x"}])


async def test_a_cut_stream_looks_to_the_sdks_as_a_cut_stream_of_ollama() -> None:
    async with FakeOllama() as fake, native(fake) as sdk:
        fake.next(Script(fault=Fault.ERROR_RECORD, fault_after_records=2, error="runner died"))
        with pytest.raises(ollama_sdk.ResponseError, match="runner died"):
            [part async for part in await sdk.chat("fakea", MESSAGES, stream=True)]
        fake.next(Script(fault=Fault.SILENT_END, fault_after_records=2))
        parts = [part async for part in await sdk.chat("fakea", MESSAGES, stream=True)]
        assert [part.done for part in parts] == [False, False]
        assert [seen.ended for seen in fake.hits] == [Ended.FAULTED, Ended.FAULTED]
        assert [seen.tokens_generated for seen in fake.hits] == [2, 2]


async def test_a_dangerous_request_is_answered_yet_remembered() -> None:
    async with FakeOllama() as fake, native(fake) as sdk:
        await sdk.pull("evil")
        assert [(seen.route, seen.kind) for seen in fake.dangerous_hits] == [("/api/pull", Kind.DANGEROUS)]
        assert fake.hits == []
