"""langchain-openai: invoke, stream, async, batches."""

import asyncio

import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI

from conftest import QUESTION


@pytest.fixture(scope="module")
def chat(server):
    return ChatOpenAI(base_url=server.base_url, api_key="any", model=server.model, max_tokens=12, max_retries=0)


@pytest.fixture(scope="module")
def llm(server):
    return OpenAI(base_url=server.base_url, api_key="any", model=server.model, max_tokens=8, temperature=0, max_retries=0)


def test_chat(chat, answered):
    message = chat.invoke(QUESTION)
    assert message.content == answered["text"]
    assert message.usage_metadata["output_tokens"] == len(answered["token_ids"])
    assert message.response_metadata["finish_reason"] == answered["finish_reason"]
    assert message.response_metadata["system_fingerprint"].startswith("lockstep/1-")
    assert "".join(chunk.content for chunk in chat.stream([HumanMessage(QUESTION)])) == answered["text"]
    assert chat.invoke([SystemMessage("You are terse."), HumanMessage(QUESTION)]).content


def test_chat_async(chat, answered):
    async def work():
        whole = await chat.ainvoke(QUESTION)
        pieces = [chunk.content async for chunk in chat.astream(QUESTION)]
        both = await chat.abatch([QUESTION, "Hi"])
        return whole.content, "".join(pieces), both[0].content

    assert asyncio.run(work()) == (answered["text"],) * 3


def test_chat_batch(chat, answered):
    """More at once than threads; each answer is what it is alone."""
    questions = [QUESTION, "Say yes.", "Hi", QUESTION, "Name a colour."]
    together = [message.content for message in chat.batch(questions)]
    assert together == [chat.invoke(question).content for question in questions]
    assert together[0] == together[3] == answered["text"]


def test_chat_options(chat):
    bound = chat.bind(logprobs=True, top_logprobs=2, stop=["."], seed=7)
    message = bound.invoke(QUESTION)
    assert "." not in message.content
    assert len(message.response_metadata["logprobs"]["content"][0]["top_logprobs"]) == 2


def test_completion(llm, generated):
    assert llm.invoke("Once upon a time") == generated["text"]
    assert "".join(llm.stream("Once upon a time")) == generated["text"]
    assert llm.batch(["Once upon a time", "Hi"])[0] == generated["text"]
    # Several prompts in one request.
    result = llm.generate(["Once upon a time", "The capital of France is", "Once upon a time"])
    texts = [generations[0].text for generations in result.generations]
    assert texts[0] == texts[2] == generated["text"] and texts[1] == llm.invoke("The capital of France is")
    assert result.llm_output["token_usage"]["completion_tokens"] == 24


def test_completion_async(llm, generated):
    async def work():
        return await llm.ainvoke("Once upon a time"), "".join([piece async for piece in llm.astream("Once upon a time")])

    assert asyncio.run(work()) == (generated["text"],) * 2


def test_errors(server):
    with pytest.raises(openai.NotFoundError):
        ChatOpenAI(base_url=server.base_url, api_key="any", model="gpt-5", max_retries=0).invoke("Hi")
    with pytest.raises(openai.BadRequestError, match="tools"):
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
        chat = ChatOpenAI(base_url=server.base_url, api_key="any", model=server.model, max_retries=0)
        chat.bind_tools([tool]).invoke("Hi")
