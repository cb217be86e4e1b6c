"""OpenAI's own client: whole and streamed, sync and async, errors, retries and cancellation."""

import asyncio
import threading

import openai
import pytest

from conftest import QUESTION

MESSAGES = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0)


def in_async(server, work):
    """Runs `work` with an async client."""

    async def run():
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
            return await work(client)

    return asyncio.run(run())


def test_models(server, client):
    models = client.models.list().data
    assert [model.id for model in models] == [server.model]
    one = client.models.retrieve(server.model)
    assert one == models[0] and one.object == "model" and one.owned_by == "lockstep"


def test_completion(server, client, generated):
    answer = client.completions.create(model=server.model, prompt="Once upon a time", max_tokens=8)
    choice = answer.choices[0]
    assert (choice.text, choice.finish_reason) == (generated["text"], "length")
    assert choice.transcript_sha256 == generated["transcript_sha256"]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (4, 8, 12)
    assert answer.system_fingerprint.startswith("lockstep/1-") and answer.object == "text_completion"
    receipt = server.get(f"/v1/receipts/{choice.receipt_id}")
    assert receipt["generation"]["token_ids"] == generated["token_ids"]


def test_completion_stream(server, client, generated):
    stream = client.completions.create(
        model=server.model, prompt="Once upon a time", max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == generated["text"]
    assert chunks[-2].choices[0].finish_reason == "length" and chunks[-2].choices[0].receipt_id
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 8


def test_chat(server, client, answered):
    answer = client.chat.completions.create(model=server.model, messages=MESSAGES, max_completion_tokens=12)
    message = answer.choices[0].message
    assert (message.role, message.content) == ("assistant", answered["text"])
    assert answer.choices[0].finish_reason == answered["finish_reason"]
    assert answer.choices[0].transcript_sha256 == answered["transcript_sha256"]


def test_chat_stream(server, client, answered):
    chunks = list(client.chat.completions.create(model=server.model, messages=MESSAGES, max_tokens=12, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answered["text"]
    assert chunks[-1].choices[0].finish_reason == answered["finish_reason"]


def test_chat_stream_helper(server, client, answered):
    """The helper that gathers the pieces, with log-probabilities and two choices."""
    with client.chat.completions.stream(
        model=server.model, messages=MESSAGES, max_tokens=12, n=2, logprobs=True, top_logprobs=2
    ) as stream:
        for _ in stream:
            pass
        whole = stream.get_final_completion()
    assert [choice.message.content for choice in whole.choices] == [answered["text"]] * 2
    tokens = whole.choices[0].logprobs.content
    assert len(tokens) == len(answered["token_ids"]) and all(len(token.top_logprobs) == 2 for token in tokens)


def test_async(server, generated, answered):
    async def work(client):
        models = [model.id async for model in client.models.list()]
        whole = client.completions.create(model=server.model, prompt="Once upon a time", max_tokens=8)
        chat = client.chat.completions.create(model=server.model, messages=MESSAGES, max_tokens=12)
        whole, chat = await asyncio.gather(whole, chat)
        stream = await client.chat.completions.create(
            model=server.model, messages=MESSAGES, max_tokens=12, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return models, whole.choices[0].text, chat.choices[0].message.content, "".join(pieces)

    assert in_async(server, work) == ([server.model], generated["text"], answered["text"], answered["text"])


def test_what_clients_send_besides(server, client, answered):
    """Nulls, defaults, and fields that change nothing."""
    answer = client.chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
        max_tokens=12,
        temperature=None,
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        frequency_penalty=0,
        presence_penalty=0,
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        user="u",
        parallel_tool_calls=True,
    )
    assert answer.choices[0].message.content == answered["text"]


def test_logprobs(server, client):
    answer = client.completions.create(model=server.model, prompt="The cat sat", max_tokens=0, echo=True, logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert "".join(logprobs.tokens) == answer.choices[0].text == "The cat sat"
    assert logprobs.token_logprobs[0] is None and all(value < 0 for value in logprobs.token_logprobs[1:])


def test_seed_and_choices(server, client):
    def drawn(seed, n):
        answer = client.completions.create(
            model=server.model, prompt="Once", max_tokens=8, temperature=1.2, seed=seed, n=n
        )
        assert answer.seed == seed
        return [choice.text for choice in answer.choices]

    assert drawn(1, 3) == drawn(1, 3) and drawn(1, 3)[:2] == drawn(1, 2)
    assert len(set(drawn(1, 3))) == 3 and drawn(2, 1) != drawn(1, 1)


def test_errors(server, client):
    def error(kind, **fields):
        with pytest.raises(kind) as raised:
            client.chat.completions.create(**{"model": server.model, "messages": MESSAGES, **fields})
        return raised.value

    assert error(openai.NotFoundError, model="gpt-5").code == "model_not_found"
    assert error(openai.NotFoundError, model="gpt-5", stream=True).code == "model_not_found"
    refused = error(openai.BadRequestError, tools=[{"type": "function", "function": {"name": "f"}}])
    assert (refused.param, refused.code, refused.type) == ("tools", "unsupported_parameter", "invalid_request_error")
    assert error(openai.BadRequestError, max_tokens=100_000).code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=server.model, input="x")

    async def work(client):
        with pytest.raises(openai.BadRequestError):
            await client.completions.create(model=server.model, prompt="x", n=99)

    in_async(server, work)


LONG = {"prompt": "Once", "max_tokens": 2000, "extra_body": {"ignore_eos": True}}


def test_a_closed_stream_stops_the_generation(server, client):
    stream = client.completions.create(model=server.model, stream=True, n=2, **LONG)
    next(iter(stream))
    server.wait_for("activeGenerations", 2)
    stream.close()
    assert server.wait_for("activeGenerations", 0) < 10

    async def work(client):
        stream = await client.completions.create(model=server.model, stream=True, **LONG)
        async for _ in stream:
            break
        await stream.close()
        # A whole answer that is not waited for any longer.
        whole = asyncio.create_task(client.completions.create(model=server.model, **LONG))
        while server.get("/api/status")["activeGenerations"] != 1:
            await asyncio.sleep(0.01)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole

    in_async(server, work)
    assert server.wait_for("activeGenerations", 0) < 10


def test_a_timeout_stops_the_generation(server, client):
    with pytest.raises(openai.APITimeoutError):
        client.completions.create(model=server.model, timeout=0.5, **LONG)
    assert server.wait_for("activeGenerations", 0) < 10


def counting(server, retries):
    """A client that tries again, and the statuses that it has seen."""
    statuses = []
    hooks = {"response": [lambda response: statuses.append(response.status_code)]}
    http = openai.DefaultHttpxClient(event_hooks=hooks)
    return openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=retries, http_client=http), statuses


def test_a_full_queue_is_tried_again(start, generated):
    server = start()
    server.wait_for("ready", True)
    client, statuses = counting(server, 10)
    with client:
        streams = [client.completions.create(model=server.model, stream=True, n=16, **LONG) for _ in range(3)]
        server.wait_for("waitingGenerations", 32)
        with pytest.raises(openai.RateLimitError) as raised:
            client.with_options(max_retries=0).completions.create(model=server.model, prompt="x")
        assert raised.value.code == "queue_full" and raised.value.response.headers["retry-after"] == "1"
        del statuses[:]
        timer = threading.Timer(0.5, lambda: [stream.close() for stream in streams])
        timer.start()
        answer = client.completions.create(model=server.model, prompt="Once upon a time", max_tokens=8)
        timer.join()
    assert answer.choices[0].text == generated["text"]
    assert statuses[-1] == 200 and len(statuses) > 1 and set(statuses[:-1]) == {429}


def test_a_server_that_is_loading_is_tried_again(start, generated):
    client, statuses = counting(start(), 20)
    with client:
        answer = client.completions.create(model=None, prompt="Once upon a time", max_tokens=8)
    assert answer.choices[0].text == generated["text"]
    assert statuses[-1] == 200 and set(statuses[:-1]) <= {503}


def test_the_end_of_the_server_is_an_error_of_the_stream(start):
    server = start()
    server.wait_for("ready", True)
    client = openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0)
    with client, pytest.raises(openai.APIError) as raised:
        for number, _ in enumerate(client.completions.create(model=server.model, stream=True, **LONG)):
            if number == 0:
                server.process.terminate()
    assert raised.value.code == "shutting_down"
