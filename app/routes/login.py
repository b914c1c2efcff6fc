"""Log a browser in: it sends the token once and keeps it as a cookie."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.answer_schemas import body_of
from app.dependencies import SettingsOf
from app.page_folder import PAGE
from app.security import COOKIE

router = APIRouter()


@router.get("/login", response_class=HTMLResponse)
async def login_page() -> str:
    """Send the page on which a person types the token."""
    return (PAGE / "login.html").read_text(encoding="utf-8")


@router.post(
    "/login",
    status_code=303,
    response_class=RedirectResponse,
    openapi_extra=dict(body_of("application/x-www-form-urlencoded")),
)
async def login(request: Request, settings: SettingsOf) -> Response:
    """Set the cookie for the right token (form field `token`); 401 for another."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    (offered, *_) = form.get("token", [""])
    if settings.token is None or not hmac.compare_digest(offered.encode(), settings.token.encode()):
        raise HTTPException(401, "the token is wrong")
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, settings.token, httponly=True, samesite="strict", secure=secure)
    return answer
